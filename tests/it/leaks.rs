//! What the running program writes about its requests: canaries that must not be in it, fields that must.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use bamboohook::config::Config;
use bamboohook::event::Dialect;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::SqliteReader;
use bamboohook::inbox::State;
use bamboohook::simulator::Callback;
use bamboohook::simulator::Simulator;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::hex;
use crate::support::store;
use crate::support::wire::HttpAnswer;
use crate::support::wire::Wire;
use crate::support::wire::post;

const TOKEN: &str = "canary-token-4f1d20c37e96a85b";
const OTHER_TOKEN: &str = "canary-wrong-token-77a0e3c1";
const SECRETS: [&str; 6] = [
    TOKEN,
    OTHER_TOKEN,
    "canary-sign-key1",
    "canary-aes-key16",
    "canary-header-88",
    "canary-secret-99",
];

/// People's data, as a message carries it.
const PERSON: [&str; 6] = [
    "canary-zhangsan",
    "张三金丝雀",
    "18912345678",
    "canary@example.com",
    "canary-Passw0rd!",
    "canary-custom",
];

/// Nothing listens on port 1, so that there are failed deliveries to be logged as well.
const SETTINGS: &str = r#"
[server]
listen = "127.0.0.1:0"
max_body = "2KiB"
[admin]
listen = "127.0.0.1:0"
[log]
level = "debug,bamboohook=trace"
[endpoints.default]
token = "canary-token-4f1d20c37e96a85b"
sign_key = "canary-sign-key1"
encrypt_key = "canary-aes-key16"
[endpoints.plain]
path = "/plain"
token = "canary-token-4f1d20c37e96a85b"
allow_unsigned = true
allow_plaintext = true
[handlers.audit]
type = "log"
[handlers.sync]
type = "http"
url = "http://127.0.0.1:1/hook"
headers = { X-Key = "canary-header-88" }
secret = "canary-secret-99"
max_attempts = 1
"#;

/// The real program, whose output is gathered while it runs.
struct Program {
    child: Child,
    callbacks: SocketAddr,
    output: [JoinHandle<String>; 2],
    config: Config,
    _directory: TempDir,
}

impl Program {
    fn start(format: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bamboohook.toml");
        let store = directory.path().join("events.db");
        fs::write(&file, format!("{SETTINGS}[store]\nurl = \"sqlite://{}\"\n", store.display()))
            .unwrap();
        let config = Config::load(Some(&file), &[].into()).unwrap().config;
        let mut child = Command::new(env!("CARGO_BIN_EXE_bamboohook"))
            .args(["serve", "--config"])
            .arg(&file)
            .env_clear()
            .env("BAMBOOHOOK__LOG__FORMAT", format)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = child.stderr.take().unwrap();
        let mut log = String::new();
        while !log.contains("ready") {
            assert_ne!(stdout.read_line(&mut log).unwrap(), 0, "{log}");
        }
        let address = log.split("listen").nth(2).unwrap().trim_start_matches(['"', ':', '=']);
        let end = address.find(|it: char| !it.is_ascii_digit() && it != '.' && it != ':').unwrap();
        let callbacks = address[..end].parse().unwrap();
        let output = [
            thread::spawn(move || read_on(log, stdout)),
            thread::spawn(move || read_on(String::new(), stderr)),
        ];
        Self { child, callbacks, output, config, _directory: directory }
    }

    async fn deliver(&self, request: impl AsRef<[u8]>) -> HttpAnswer {
        let mut wire = Wire::connect(self.callbacks).await;
        wire.send(request).await;
        wire.answer().await
    }

    /// Until every delivery was attempted, so that their log lines are there.
    async fn settle(&self) {
        let reader = SqliteReader::open(&store::path(&self.config)).unwrap();
        let waiting = EventFilter { state: Some(State::Waiting), ..EventFilter::default() };
        let settled = async {
            while !reader.events(&waiting, None, 1).unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled).await.unwrap();
    }

    /// Ends it in good order and returns all of stdout and stderr.
    fn stop(mut self) -> [String; 2] {
        let kill =
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success() && self.child.wait().unwrap().success());
        self.output.map(|it| it.join().unwrap())
    }

    fn callback(&self, endpoint: &str, event: &str, message: &str, dialect: Dialect) -> Callback {
        let idaas = self.idaas(endpoint, dialect);
        idaas.callback(event, message, now()).unwrap()
    }

    fn idaas(&self, endpoint: &str, dialect: Dialect) -> Simulator {
        Simulator::new(&self.config.endpoints[endpoint], dialect).unwrap()
    }
}

fn read_on(mut text: String, mut from: impl Read) -> String {
    from.read_to_string(&mut text).unwrap();
    text
}

#[expect(clippy::disallowed_methods, reason = "the program's own clock cannot be moved")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn authorized(more: &str) -> String {
    format!("Authorization: Bearer {TOKEN}\r\n{more}")
}

fn person() -> String {
    let [username, name, mobile, email, password, custom] = PERSON;
    format!(
        r#"{{"username":"{username}","name":"{name}","mobile":"{mobile}","email":"{email}","password":"{password}","attr":"{custom}"}}"#
    )
}

/// What is good and what is refused, each with its status, and the callbacks that they were made of.
fn requests(program: &Program) -> (Vec<(u16, Vec<u8>)>, Vec<Callback>) {
    let eiam =
        |event: &str, message: &str| program.callback("default", event, message, Dialect::Eiam);
    let good = eiam("CREATE_USER", &person());
    let ciam =
        program.callback("default", "USER_UPDATE_PWD", "20200223170310946-34EE", Dialect::Ciam);
    let plain = program.callback("plain", "CREATE_USER", &person(), Dialect::Eiam);
    let ambiguous = eiam("UPDATE_USER", &person().replacen('{', r#"{"name":"x","#, 1));
    let nameless = eiam("UPDATE_USER", &person().replace("username", "user"));
    let mut unsealed = eiam("CREATE_USER", "");
    unsealed.data = person();
    program.idaas("default", Dialect::Eiam).sign(&mut unsealed).unwrap();
    let forged = Callback { data: person(), ..eiam("CREATE_USER", "") };
    let stale = program
        .idaas("default", Dialect::Eiam)
        .callback("CREATE_USER", &person(), Timestamp::UNIX_EPOCH)
        .unwrap();
    let path = |path: &str, head: &str, body: &str| post(path, head, body);
    let to = |callback: &Callback| path("/callback", &authorized(""), &callback.body());
    let body = good.body();
    let mut requests = vec![
        (200, to(&good)),
        (409, to(&good)),
        (200, to(&ciam)),
        (200, path("/plain", &authorized(""), &plain.body())),
        (200, to(&eiam("CHECK_URL", PERSON[5]))),
        (400, to(&ambiguous)),
        (400, to(&nameless)),
        (400, to(&unsealed)),
        (401, to(&forged)),
        (401, to(&stale)),
        (401, path("/callback", "", &body)),
        (401, path("/callback", &format!("Authorization: Bearer {OTHER_TOKEN}\r\n"), &body)),
        (401, path(&format!("/callback?token={TOKEN}"), "", &body)),
        (401, path("/callback", &authorized(&authorized("")), &body)),
        (401, path("/callback", &authorized(""), &body.replace("CREATE", "DELETE"))),
        (404, path(&format!("/{TOKEN}/{}", PERSON[0]), &authorized(""), &body)),
        (415, path("/callback", &authorized(&format!("Content-Type: {TOKEN}\r\n")), &body)),
        (413, path("/callback", &authorized(""), &person().repeat(20))),
        (405, [b"PUT", &to(&good)[4..]].concat()),
    ];
    requests.extend(writings_into_the_log(&body));
    let hostile =
        r#"{"id":"7\r\n{\"level\":\"ERROR\"} \u001b[31m \u202e\u2066\u009b\u007f\u0000 end"}"#;
    requests.push((200, to(&eiam("UPDATE_USER", hostile))));
    (requests, vec![good, ciam, plain, ambiguous, nameless, unsealed, forged, stale])
}

/// What is made of a body that was accepted to get its own text into the log.
fn writings_into_the_log(body: &str) -> Vec<(u16, Vec<u8>)> {
    let mut requests = Vec::new();
    for (from, with) in [
        ("}", ""),
        ("{", &*person()),
        ("\"nonce\"", PERSON[1]),
        ("CREATE_USER", "CREATE\\n{\\\"message\\\":\\\"callback\\\"}"),
        ("CREATE_USER", "\\u001b[31mCREATE"),
        ("CREATE_USER", "\\u202eRESU"),
        ("{\"nonce\":\"", "{\"nonce\":\"\\r\\n\\u001b]0;"),
        ("\"timestamp\":", "\"timestamp\":\"canary-custom\",\"x\":"),
        ("\"data\":\"", "\"data\":7,\"password\":\"canary-Passw0rd!"),
    ] {
        let body = body.replacen(from, with, 1);
        requests.push((400, post("/callback", &authorized(""), body)));
    }
    for head in [
        "X-Forwarded-For: \u{202e}[31m\r\n",
        "X-Request-Id: \u{202e}canary-custom\r\n",
        "User-Agent: canary-custom\r\n",
    ] {
        requests.push((409, post("/callback", &authorized(head), body)));
    }
    requests
}

/// A secret and the ways in which it might be printed.
fn spellings(secret: &str) -> [String; 5] {
    let bytes = secret.as_bytes();
    let base64 = STANDARD.encode(bytes).trim_end_matches('=').to_owned();
    [secret.to_owned(), base64, hex(bytes).to_uppercase(), hex(bytes), format!("{bytes:?}")]
}

async fn output_after_all_requests(
    format: &str,
) -> ([String; 2], Vec<HttpAnswer>, BTreeSet<String>) {
    let program = Program::start(format);
    let (requests, callbacks) = requests(&program);
    let mut answers = Vec::new();
    for (status, request) in requests {
        let answer = program.deliver(&request).await;
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&request));
        answers.push(answer);
    }
    program.settle().await;
    let mut canaries: BTreeSet<String> =
        SECRETS.iter().chain(&PERSON).flat_map(|it| spellings(it)).collect();
    for callback in callbacks {
        if let Ok(mac) = STANDARD.decode(&callback.signature)
            && !mac.is_empty()
        {
            canaries.extend([callback.signature, hex(&mac), format!("{mac:?}")]);
        }
        canaries.insert(callback.data);
    }
    (program.stop(), answers, canaries)
}

#[tokio::test]
async fn nothing_secret_and_nobodys_data_is_written_anywhere() {
    for format in ["json", "text"] {
        let (output, answers, canaries) = output_after_all_requests(format).await;
        assert!(output[0].contains("callback") && canaries.len() > 60);
        let told: String =
            answers.iter().filter(|it| it.status != 200).map(HttpAnswer::text).collect();
        for text in output.iter().map(String::as_str).chain([told.as_str()]) {
            for canary in &canaries {
                assert!(!text.contains(&**canary), "{format}: {canary}\n{text}");
            }
        }
    }
}

#[tokio::test]
async fn no_text_of_a_request_reaches_the_log_raw() {
    for format in ["json", "text"] {
        let (output, answers, _) = output_after_all_requests(format).await;
        let raw = |it: char| {
            (it.is_control() && it != '\n')
                || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(
            output[0].contains("[31m") && output[0].contains("end"),
            "the hostile id was logged"
        );
        for text in &output {
            let found = text.lines().find(|line| line.contains(raw));
            assert_eq!(found, None, "{format}");
        }
        let lines = output[0]
            .lines()
            .filter(|line| line.contains("callback") && line.contains("request_id"));
        assert_eq!(lines.count(), answers.len(), "{format}");
    }
}

#[tokio::test]
async fn each_callback_has_one_line_with_its_fields_at_the_top() {
    let (output, answers, _) = output_after_all_requests("json").await;
    let lines: Vec<Value> =
        output[0].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        for field in ["timestamp", "level", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
        line["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
    }
    let callbacks: Vec<&Value> = lines.iter().filter(|it| it["message"] == "callback").collect();
    assert_eq!(callbacks.len(), answers.len());
    for (line, answer) in callbacks.into_iter().zip(answers) {
        assert_eq!(line["request_id"], answer.request_id().to_string());
        assert_eq!(line["status"], answer.status);
        assert_eq!(line["client"], "127.0.0.1");
        assert!(line["latency_ms"].as_f64().is_some_and(|it| it > 0.0), "{line}");
        let outcome = match answer.status {
            200 => "accepted",
            409 => "duplicate",
            _ => "rejected",
        };
        assert_eq!(line["outcome"], outcome);
        assert_eq!(line["endpoint"].is_string(), answer.status != 404);
        assert_eq!(line["reason"].is_string(), answer.status != 200);
        assert_eq!(line["event_id"].is_string(), matches!(answer.status, 200 | 409));
        assert!(line["event"].is_string() || ![200, 409].contains(&answer.status), "{line}");
        let known = [
            "timestamp",
            "level",
            "message",
            "request_id",
            "endpoint",
            "event",
            "event_id",
            "outcome",
            "reason",
            "status",
            "latency_ms",
            "client",
        ];
        assert!(line.as_object().unwrap().keys().all(|it| known.contains(&it.as_str())), "{line}");
    }
    assert_eq!(output[1], "", "stderr is for what goes wrong at the start");
}
