//! The settings as their users meet them: defaults, layers, refusals, redaction. Starts no service.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use config::Map;
use config::Value;
use config::ValueKind;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tempfile::TempDir;

use bamboohook::config::CheckUrlReply;
use bamboohook::config::CipherSetting;
use bamboohook::config::Config;
use bamboohook::config::ConfigError;
use bamboohook::config::DetailsBy;
use bamboohook::config::EnvelopeSetting;
use bamboohook::config::HandlerKind;
use bamboohook::config::IdaasAuth;
use bamboohook::config::IvSetting;
use bamboohook::config::Loaded;
use bamboohook::config::LogFormat;
use bamboohook::config::Mode;
use bamboohook::config::OnDuplicate;
use bamboohook::config::OnUnknownEvent;
use bamboohook::config::SignatureAlgorithm;
use bamboohook::config::StoreUrl;
use bamboohook::config::file_from;
use bamboohook::event::Pattern;

const TOKEN: &str = "canary-token-0123456789abcdef012345";
const SIGN_KEY: &str = "canary-sign-0001";
const ENCRYPT_KEY: &str = "canary-aes-00016";

/// An endpoint's table that loads, without its heading.
const KEYS: &str = r#"
token = "canary-token-0123456789abcdef012345"
sign_key = "canary-sign-0001"
encrypt_key = "canary-aes-00016"
"#;

const IDAAS: &str = r#"
[idaas]
base_url = "https://tenant.example.com/"
client_id = "bamboohook"
client_secret = "canary-client-secret"
"#;

/// A directory of its own for the settings and the files that they name.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The path as TOML.
    fn quoted(&self, name: &str, content: &str) -> String {
        format!("\"{}\"", self.file(name, content).display())
    }

    fn load(&self, toml: &str, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        Config::load(Some(&self.file("bamboohook.toml", toml)), &variables(env))
    }
}

fn variables(env: &[(&str, &str)]) -> BTreeMap<String, String> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(toml: &str) -> Loaded {
    Place::new().load(toml, &[]).unwrap()
}

fn load_with(toml: &str, env: &[(&str, &str)]) -> Loaded {
    Place::new().load(toml, env).unwrap()
}

fn load_error(toml: &str, env: &[(&str, &str)]) -> String {
    let error = Place::new().load(toml, env).unwrap_err();
    let text = error.to_string();
    let debug = format!("{error:?}");
    assert!(
        !text.contains("canary") && !debug.contains("canary"),
        "a secret shows: {text}\n{debug}"
    );
    assert_eq!(text.lines().count(), error.problems().len(), "one problem a line: {text}");
    text
}

/// The file is refused with one problem, at `key`, whose text holds `part`.
#[track_caller]
fn refused(toml: &str, key: &str, part: &str) {
    refused_with(toml, &[], key, part);
}

#[track_caller]
fn refused_with(toml: &str, env: &[(&str, &str)], key: &str, part: &str) {
    let text = load_error(toml, env);
    let at_key =
        text.strip_prefix(key).is_some_and(|it| it.starts_with(':') || it.starts_with(" ("));
    assert!(at_key && text.contains(part), "{key} … {part} in: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

fn endpoint(lines: &str) -> String {
    format!("[endpoints.default]\n{KEYS}\n{lines}\n")
}

fn handler(lines: &str) -> String {
    format!("{}\n[handlers.x]\n{lines}\n", endpoint(""))
}

fn exposed(secrets: &[SecretString]) -> Vec<&str> {
    secrets.iter().map(ExposeSecret::expose_secret).collect()
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn parse_toml(text: &str) -> Map<String, Value> {
    let source = config::File::from_str(text, config::FileFormat::Toml);
    let parsed = config::Config::builder().add_source(source).build().unwrap();
    parsed.cache.into_table().unwrap()
}

#[test]
fn what_is_not_set_has_the_default_of_the_contract() {
    let config = load(&endpoint("")).config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.max_body, 262_144);
    assert_eq!(config.server.read_timeout, Duration::from_secs(10));
    assert_eq!(config.server.max_connections, 10_000);
    assert_eq!(config.server.shutdown_timeout, Duration::from_secs(25));
    assert!(config.server.trusted_proxies.is_empty());
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(config.log.level, "info");
    assert!(
        matches!(config.store.url, StoreUrl::Sqlite(path) if path == Path::new("bamboohook.db"))
    );
    assert!(config.store.password.is_none());
    assert_eq!(config.store.pool_size, 8);
    assert_eq!(config.store.statement_timeout, Duration::from_secs(5));
    assert_eq!(config.store.retention, Duration::from_hours(24 * 30));
    assert!(config.idaas.is_none());
    assert!(config.handlers.is_empty());
    assert!(config.directory.enabled);
    assert_eq!(config.directory.exclude, ["password"]);
    assert_eq!(config.reconcile.every, None);
    assert!(config.reconcile.endpoints.is_empty());
    assert!((config.reconcile.max_delete_share - 0.1).abs() < f64::EPSILON);
}

#[test]
fn every_endpoint_has_the_defaults_whatever_its_name() {
    let config = load(&format!("[endpoints.hr_1-A]{KEYS}")).config;
    let endpoint = config.endpoints.get("hr_1-A").unwrap();
    assert_eq!(config.endpoints.len(), 1);
    assert_eq!(endpoint.path, "/callback");
    assert_eq!(endpoint.dialect, None);
    assert_eq!(exposed(&endpoint.token), [TOKEN]);
    assert_eq!(exposed(&endpoint.sign_key), [SIGN_KEY]);
    assert_eq!(endpoint.signature_algorithm, SignatureAlgorithm::Auto);
    assert_eq!(endpoint.signature_message, "{nonce}&{timestamp}&{event}&{data}");
    assert_eq!(exposed(&endpoint.encrypt_key), [ENCRYPT_KEY]);
    assert_eq!(endpoint.cipher, CipherSetting::Auto);
    assert_eq!(endpoint.iv, IvSetting::Auto);
    assert_eq!(endpoint.envelope, EnvelopeSetting::Auto);
    assert!(!endpoint.allow_unsigned);
    assert!(!endpoint.allow_plaintext);
    assert_eq!(endpoint.timestamp_tolerance, Some(Duration::from_mins(5)));
    assert_eq!(endpoint.on_duplicate, OnDuplicate::Reject);
    assert_eq!(endpoint.on_unknown_event, OnUnknownEvent::Accept);
    assert_eq!(endpoint.check_url_reply, CheckUrlReply::Echo);
    assert_eq!(endpoint.reply_timeout, Duration::from_secs(4));
}

#[test]
fn every_handler_has_the_defaults_whatever_its_name() {
    let config = load(&handler("")).config;
    let handler = config.handlers.get("x").unwrap();
    assert_eq!(config.handlers.len(), 1);
    assert!(matches!(handler.kind, HandlerKind::Log));
    assert_eq!(handler.events.iter().map(Pattern::as_str).collect::<Vec<_>>(), ["*"]);
    assert_eq!(handler.endpoints.iter().map(Pattern::as_str).collect::<Vec<_>>(), ["*"]);
    assert_eq!(handler.mode, Mode::Queued);
    assert_eq!(handler.concurrency, 8);
    assert_eq!(handler.timeout, Duration::from_secs(10));
    assert_eq!(handler.max_attempts, 15);
    assert_eq!(handler.retry_first, Duration::from_secs(1));
    assert_eq!(handler.retry_max, Duration::from_hours(1));
    assert!(handler.details);
    assert_eq!(handler.details_by, DetailsBy::Id);
}

#[test]
fn the_idaas_table_is_read_when_it_is_there() {
    let idaas = load(&format!("{}{IDAAS}", endpoint(""))).config.idaas.unwrap();
    assert_eq!(idaas.base_url, "https://tenant.example.com");
    assert_eq!(idaas.client_id, "bamboohook");
    assert_eq!(idaas.client_secret.expose_secret(), "canary-client-secret");
    assert_eq!(idaas.auth, IdaasAuth::Basic);
    assert_eq!(idaas.timeout, Duration::from_secs(5));
    assert_eq!(idaas.time_zone, 28_800);
}

#[test]
fn an_empty_idaas_table_lacks_three_keys_and_no_example_stands_in_for_them() {
    let text = load_error(&format!("{}[idaas]", endpoint("")), &[]);
    assert_eq!(text.lines().count(), 3, "{text}");
    for (key, cure) in [
        ("idaas.base_url: is missing", "BAMBOOHOOK__IDAAS__BASE_URL"),
        ("idaas.client_id: is missing", "BAMBOOHOOK__IDAAS__CLIENT_ID"),
        ("idaas.client_secret: is missing", "idaas.client_secret_file"),
    ] {
        assert!(text.lines().any(|it| it.starts_with(key) && it.contains(cure)), "{text}");
    }
}

#[test]
fn nothing_at_all_is_refused_with_what_to_set() {
    let error = Config::load(None, &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.starts_with("endpoints: "), "{error}");
    assert!(error.contains("endpoints.default.token"), "{error}");
    assert!(error.contains("BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN"), "{error}");
}

#[test]
fn the_environment_alone_is_enough() {
    let env = variables(&[
        ("BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN", TOKEN),
        ("BAMBOOHOOK__ENDPOINTS__DEFAULT__SIGN_KEY", SIGN_KEY),
        ("BAMBOOHOOK__ENDPOINTS__DEFAULT__ENCRYPT_KEY", ENCRYPT_KEY),
        ("BAMBOOHOOK__HANDLERS__AUDIT__TYPE", "log"),
    ]);
    let config = Config::load(None, &env).unwrap().config;
    assert_eq!(config.endpoints.keys().collect::<Vec<_>>(), ["default"]);
    assert_eq!(config.handlers.keys().collect::<Vec<_>>(), ["audit"]);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let toml =
        format!("[server]\nlisten = \"127.0.0.1:1\"\nread_timeout = \"3s\"\n{}", endpoint(""));
    let loaded = load_with(&toml, &[("BAMBOOHOOK__SERVER__LISTEN", "127.0.0.1:2")]);
    assert_eq!(loaded.config.server.listen.port(), 2);
    assert_eq!(loaded.config.server.read_timeout, Duration::from_secs(3));
    let printed = loaded.to_toml();
    assert!(
        printed.contains("listen = \"127.0.0.1:2\"  # env BAMBOOHOOK__SERVER__LISTEN\n"),
        "{printed}"
    );
    assert!(printed.contains("max_body = \"256KiB\"  # default\n"), "{printed}");
    let line = printed.lines().find(|it| it.starts_with("read_timeout")).unwrap();
    assert!(
        line.starts_with("read_timeout = \"3s\"  # file ") && line.ends_with("bamboohook.toml"),
        "{line}"
    );
}

#[test]
fn values_from_the_environment_take_the_type_of_their_key() {
    let prefix = "BAMBOOHOOK__ENDPOINTS__DEFAULT__";
    let loaded = load_with(
        &handler("type = \"command\"\nargv = [\"/bin/a\"]"),
        &[
            ("BAMBOOHOOK__SERVER__MAX_CONNECTIONS", "12"),
            ("BAMBOOHOOK__SERVER__TRUSTED_PROXIES", "10.0.0.0/8 , ::1"),
            ("BAMBOOHOOK__DIRECTORY__ENABLED", "false"),
            ("BAMBOOHOOK__DIRECTORY__EXCLUDE", ""),
            ("BAMBOOHOOK__RECONCILE__MAX_DELETE_SHARE", "0.25"),
            ("BAMBOOHOOK__HANDLERS__X__ARGV", "/bin/b, c d,e"),
            (&format!("{prefix}TIMESTAMP_TOLERANCE"), "off"),
        ],
    );
    let config = &loaded.config;
    assert_eq!(config.server.max_connections, 12);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert!(!config.directory.enabled);
    assert!(config.directory.exclude.is_empty());
    assert!((config.reconcile.max_delete_share - 0.25).abs() < f64::EPSILON);
    assert!(
        matches!(&config.handlers["x"].kind, HandlerKind::Command { argv, .. } if *argv == ["/bin/b", "c d", "e"])
    );
    assert_eq!(config.endpoints["default"].timestamp_tolerance, None);
    let printed = loaded.to_toml();
    assert!(printed.contains("enabled = false  # env BAMBOOHOOK__DIRECTORY__ENABLED"), "{printed}");
    assert!(printed.contains("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]  # env "), "{printed}");
}

#[test]
fn a_secret_from_the_environment_is_text_whatever_it_looks_like() {
    for value in ["123", "true", "a,b", "[x]", "1.5", "{a=1}", "\"quoted\"", "2024-01-01"] {
        let loaded = load_with(&endpoint(""), &[("BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN", value)]);
        assert_eq!(exposed(&loaded.config.endpoints["default"].token), [value]);
    }
    let loaded = load_with(
        &endpoint(""),
        &[("BAMBOOHOOK__ENDPOINTS__DEFAULT__ENCRYPT_KEY", "1234567890123456")],
    );
    assert_eq!(exposed(&loaded.config.endpoints["default"].encrypt_key), ["1234567890123456"]);
}

#[test]
fn names_from_the_environment_are_lower_case_except_where_they_are_the_users_own() {
    let toml = handler("type = \"http\"\nurl = \"https://a.example\"")
        .replace("handlers.x", "handlers.CRM");
    let loaded = load_with(
        &toml,
        &[
            ("BAMBOOHOOK__HANDLERS__CRM__HEADERS__X-Api__Key", "canary"),
            ("BAMBOOHOOK__HANDLERS__CRM__MODE", "inline"),
            ("BAMBOOHOOK__HANDLERS__OTHER__TYPE", "command"),
            ("BAMBOOHOOK__HANDLERS__OTHER__ARGV", "/bin/true"),
            ("BAMBOOHOOK__HANDLERS__OTHER__ENV__MY_Var", "7"),
        ],
    );
    assert_eq!(loaded.config.handlers.keys().collect::<Vec<_>>(), ["CRM", "other"]);
    assert_eq!(loaded.config.handlers["CRM"].mode, Mode::Inline);
    assert!(
        matches!(&loaded.config.handlers["CRM"].kind, HandlerKind::Http { headers, .. } if headers["X-Api__Key"].expose_secret() == "canary")
    );
    assert!(
        matches!(&loaded.config.handlers["other"].kind, HandlerKind::Command { env, .. } if env["MY_Var"].expose_secret() == "7")
    );
}

#[test]
fn a_command_inherits_path_and_nothing_else() {
    let inherited = [("PATH", "/usr/bin"), ("HOME", "/root"), ("LD_PRELOAD", "/x.so")];
    for (own, expected) in [("A = \"b\"", "/usr/bin"), ("A = \"b\", PATH = \"/opt\"", "/opt")] {
        let table = format!("type = \"command\"\nargv = [\"/bin/a\"]\nenv = {{ {own} }}");
        let loaded = load_with(&handler(&table), &inherited);
        let HandlerKind::Command { env, .. } = &loaded.config.handlers["x"].kind else {
            unreachable!()
        };
        assert_eq!(env.keys().collect::<Vec<_>>(), ["A", "PATH"]);
        assert_eq!(env["PATH"].expose_secret(), expected);
        // What is printed can be pasted as settings, and PATH is not one.
        assert_eq!(loaded.to_toml().contains("PATH"), own.contains("PATH"));
    }
}

#[test]
fn names_of_headers_in_the_file_keep_their_case_and_may_be_odd() {
    let loaded = load(&handler(
        "type = \"http\"\nurl = \"https://a.example\"\nheaders = { Authorization = \"Bearer canary\", \"x.y~z\" = \"\" }",
    ));
    let HandlerKind::Http { headers, .. } = &loaded.config.handlers["x"].kind else {
        unreachable!()
    };
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["Authorization", "x.y~z"]);
    assert!(
        loaded.to_toml().contains("[handlers.x.headers]\nAuthorization = \"<redacted>\"  # file "),
        "{}",
        loaded.to_toml()
    );
}

#[test]
fn rust_log_wins_over_the_level() {
    let toml = format!("[log]\nlevel = \"warn\"\n{}", endpoint(""));
    let env = [("RUST_LOG", "debug,hyper=off"), ("BAMBOOHOOK__LOG__LEVEL", "error")];
    let loaded = load_with(&toml, &env);
    assert_eq!(loaded.config.log.level, "debug,hyper=off");
    assert!(loaded.to_toml().contains("level = \"debug,hyper=off\"  # env RUST_LOG"));
    assert_eq!(load_with(&toml, &[("RUST_LOG", "")]).config.log.level, "warn");
    refused_with(
        &toml,
        &[("RUST_LOG", "a=loud")],
        "log.level",
        "(env RUST_LOG): must be RUST_LOG directives",
    );
}

#[test]
fn the_file_comes_from_the_flag_then_the_environment_then_its_usual_place() {
    let env = variables(&[("BAMBOOHOOK_CONFIG", "/etc/b.toml")]);
    assert_eq!(file_from(Some("/a.toml".into()), &env), Some("/a.toml".into()));
    assert_eq!(file_from(None, &env), Some("/etc/b.toml".into()));
    let usual = Path::new("config/bamboohook.toml");
    assert_eq!(file_from(None, &BTreeMap::new()), usual.exists().then(|| usual.to_owned()));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let place = Place::new();
    let path = place.directory.path().join("absent.toml");
    let error = Config::load(Some(&path), &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("absent.toml: cannot be read: No such file"), "{error}");
    // The extension is not guessed.
    place.file("guess.toml", endpoint(""));
    assert!(Config::load(Some(&place.directory.path().join("guess")), &BTreeMap::new()).is_err());
    let path = place.file("latin1.toml", b"# caf\xe9\n");
    let error = Config::load(Some(&path), &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("latin1.toml: is not UTF-8"), "{error}");
}

#[test]
fn any_name_of_a_file_will_do_and_a_byte_order_mark_does_no_harm() {
    let place = Place::new();
    let path = place.file("settings", format!("\u{feff}{}", endpoint("")));
    Config::load(Some(&path), &BTreeMap::new()).unwrap();
}

#[test]
fn broken_toml_is_refused_with_its_line_and_without_its_text() {
    for toml in [
        "[endpoints.default]\ntoken = canary",
        "[endpoints.default]\ntoken = \"canary",
        "\n\"canary\" 1",
    ] {
        let text = load_error(toml, &[]);
        assert!(text.contains("bamboohook.toml: line 2, column "), "{text}");
    }
    let text = load_error("a = 1\na = \"canary\"", &[]);
    assert!(text.contains("line 2") && text.contains("duplicate key"), "{text}");
}

#[test]
fn a_number_for_a_secret_is_told_to_get_quotes() {
    for value in ["123", "true", "1.5", "-1", "0x10"] {
        refused(
            &endpoint("").replace(&format!("\"{TOKEN}\""), value),
            "endpoints.default.token",
            "put it in quotes",
        );
        refused(
            &endpoint("").replace(&format!("\"{SIGN_KEY}\""), value),
            "endpoints.default.sign_key",
            "put it in quotes",
        );
    }
    let list = endpoint("").replace(&format!("\"{TOKEN}\""), &format!("[\"{TOKEN}\", 5]"));
    refused(&list, "endpoints.default.token[1]", "put it in quotes");
    let client = format!("{}{IDAAS}", endpoint("")).replace("\"canary-client-secret\"", "12");
    refused(&client, "idaas.client_secret", "put it in quotes");
    let signed = handler("type = \"http\"\nurl = \"https://a.example\"\nsecret = false");
    refused(&signed, "handlers.x.secret", "put it in quotes");
}

#[test]
fn a_number_too_large_for_toml_is_told_to_get_quotes_too() {
    let digits = "12345678901234567890123456789012";
    let text = load_error(&endpoint("").replace(&format!("\"{TOKEN}\""), digits), &[]);
    assert!(text.starts_with("endpoints.default.token (file "), "{text}");
    assert!(
        text.contains("line 3") && text.contains("put it in quotes") && !text.contains(digits),
        "{text}"
    );
    let text =
        load_error(&endpoint("").replace(&format!("\"{TOKEN}\""), &format!("[{digits}]")), &[]);
    assert!(text.contains("in quotes") && !text.contains(digits), "{text}");
}

#[test]
fn lists_of_secrets_keep_their_order() {
    let toml = endpoint("").replace(&format!("\"{TOKEN}\""), "[\"second\", \"first\"]");
    let loaded = load(&toml);
    assert_eq!(exposed(&loaded.config.endpoints["default"].token), ["second", "first"]);
    assert!(loaded.to_toml().contains("token = [\"<redacted>\", \"<redacted>\"]  # file "));
}

#[test]
fn a_list_of_secrets_is_neither_empty_nor_repeats_itself() {
    let with = |token: &str| endpoint("").replace(&format!("\"{TOKEN}\""), token);
    refused(&with("[]"), "endpoints.default.token", "is an empty list");
    refused(
        &with("[\"canary1\", \"canary2\", \"canary1\"]"),
        "endpoints.default.token",
        "more than once",
    );
    refused(&with("[\"canary1\", \"\"]"), "endpoints.default.token[1]", "is empty");
    refused(&with("[\"canary1\", [\"canary2\"]]"), "endpoints.default.token[1]", "is a list");
    refused(&with("{ a = \"canary\" }"), "endpoints.default.token", "is a table");
}

#[test]
fn an_empty_blank_or_padded_secret_is_refused() {
    let with = |token: &str| endpoint("").replace(&format!("\"{TOKEN}\""), token);
    refused(&with("\"\""), "endpoints.default.token", "is empty; set the secret");
    refused(&with("\"  \""), "endpoints.default.token", "is blank");
    refused(&with("\"canary \""), "endpoints.default.token", "white space; remove it");
    refused(&with("\"canary\\n\""), "endpoints.default.token", "white space; remove it");
    refused(
        &with("\"env:CANARY\""),
        "endpoints.default.token",
        "is a placeholder; put the real secret",
    );
    refused(&with("\"<canary>\""), "endpoints.default.token", "is a placeholder");
    let env = [("BAMBOOHOOK__ENDPOINTS__DEFAULT__SIGN_KEY", "")];
    let key = "endpoints.default.sign_key (env BAMBOOHOOK__ENDPOINTS__DEFAULT__SIGN_KEY)";
    refused_with(&endpoint(""), &env, key, "is empty");
    let env = [("BAMBOOHOOK__ENDPOINTS__DEFAULT__SIGN_KEY", "canary\n")];
    refused_with(&endpoint(""), &env, key, "white space");
}

#[test]
fn a_missing_secret_is_refused_with_the_three_ways_to_set_it() {
    let text = load_error("[endpoints.default]", &[]);
    assert_eq!(text.lines().count(), 3, "{text}");
    for key in ["token", "sign_key", "encrypt_key"] {
        let line = text
            .lines()
            .find(|it| it.starts_with(&format!("endpoints.default.{key}: is missing")))
            .unwrap();
        assert!(
            line.contains(&format!("BAMBOOHOOK__ENDPOINTS__DEFAULT__{}", key.to_uppercase())),
            "{line}"
        );
        assert!(line.contains(&format!("endpoints.default.{key}_file")), "{line}");
    }
    assert!(
        text.contains("allow_unsigned = true") && text.contains("allow_plaintext = true"),
        "{text}"
    );
}

#[test]
fn an_aes_key_has_16_24_or_32_bytes() {
    for length in 7..40 {
        let key = format!("canary-{}", "k".repeat(length - 7));
        let toml = endpoint("").replace(ENCRYPT_KEY, &key);
        if matches!(length, 16 | 24 | 32) {
            load(&toml);
        } else {
            refused(&toml, "endpoints.default.encrypt_key", "not 16, 24 or 32 bytes");
        }
    }
    load(&endpoint("").replace(ENCRYPT_KEY, "密钥密钥密钥密钥"));
}

#[test]
fn secrets_come_from_files_one_a_line() {
    let place = Place::new();
    let tokens = place.quoted("tokens", "first\r\nsecond\r\n");
    let sign_key = place.quoted("sign", "key\n");
    let secret = place.quoted("secret", "whsec_a");
    let toml = format!(
        "[endpoints.default]\ntoken_file = {tokens}\nsign_key_file = {sign_key}\nallow_plaintext = true\n\
         [handlers.x]\ntype = \"http\"\nurl = \"https://a.example\"\nsecret_file = {secret}\n"
    );
    let loaded = place.load(&toml, &[]).unwrap();
    let endpoint = &loaded.config.endpoints["default"];
    assert_eq!(exposed(&endpoint.token), ["first", "second"]);
    assert_eq!(exposed(&endpoint.sign_key), ["key"]);
    assert!(endpoint.encrypt_key.is_empty());
    let HandlerKind::Http { secret: Some(secret), .. } = &loaded.config.handlers["x"].kind else {
        unreachable!()
    };
    assert_eq!(secret.expose_secret(), "whsec_a");
    let printed = loaded.to_toml();
    assert!(printed.contains(&format!("token_file = {tokens}  # file ")), "{printed}");
    assert!(!printed.contains("token = "), "{printed}");
}

#[test]
fn only_the_trailing_line_end_of_a_secret_file_is_dropped() {
    for (content, part) in [
        ("", "empty file"),
        ("\n", "line 1 of the file is empty"),
        ("canary\n\n", "line 2 of the file is empty"),
        ("canary \n", "line 1 of the file begins or ends with white space"),
        ("canary1\n canary2\n", "line 2 of the file begins"),
        ("canary\ncanary\n", "more than once"),
        ("changeme", "line 1 of the file is a placeholder"),
    ] {
        let place = Place::new();
        let file = place.quoted("token", content);
        let toml =
            endpoint("").replace(&format!("token = \"{TOKEN}\""), &format!("token_file = {file}"));
        let text = place.load(&toml, &[]).unwrap_err().to_string();
        assert!(
            text.starts_with("endpoints.default.token_file (file ") && text.contains(part),
            "{content:?}: {text}"
        );
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn a_file_of_a_single_secret_holds_one_line() {
    let place = Place::new();
    let file = place.quoted("client", "canary1\ncanary2\n");
    let toml = format!("{}{IDAAS}", endpoint("")).replace(
        "client_secret = \"canary-client-secret\"",
        &format!("client_secret_file = {file}"),
    );
    let text = place.load(&toml, &[]).unwrap_err().to_string();
    assert!(text.starts_with("idaas.client_secret_file") && text.contains("line break"), "{text}");
    place.file("client", "canary\r\n");
    let loaded = place.load(&toml, &[]).unwrap();
    assert_eq!(loaded.config.idaas.unwrap().client_secret.expose_secret(), "canary");
}

#[test]
fn a_secret_file_that_cannot_be_read_is_refused() {
    let toml =
        endpoint("").replace(&format!("token = \"{TOKEN}\""), "token_file = \"/nowhere/token\"");
    refused(&toml, "endpoints.default.token_file", "cannot be read: No such file");
    let toml = endpoint("").replace(&format!("token = \"{TOKEN}\""), "token_file = 7");
    refused(&toml, "endpoints.default.token_file", "must be the path of a file, in quotes");
}

#[test]
fn a_secret_and_its_file_exclude_each_other_across_layers_too() {
    refused(
        &endpoint("token_file = \"/x\""),
        "endpoints.default.token",
        "is set, and so is token_file (file ",
    );
    let env = [("BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN_FILE", "/x")];
    let part = "so is token_file (env BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN_FILE); remove one";
    refused_with(&endpoint(""), &env, "endpoints.default.token", part);
}

#[test]
fn only_secrets_can_come_from_files() {
    let toml = format!("[store]\nurl_file = \"/x\"\n{}", endpoint(""));
    refused(&toml, "store.url_file", "is not a known key");
}

#[test]
fn a_key_and_the_consent_to_go_without_it_exclude_each_other() {
    refused(
        &endpoint("allow_unsigned = true\ncipher = \"aes-gcm\""),
        "endpoints.default.allow_unsigned",
        "together with sign_key",
    );
    refused(
        &endpoint("allow_plaintext = true"),
        "endpoints.default.allow_plaintext",
        "together with encrypt_key",
    );
    let bare = format!(
        "[endpoints.default]\ntoken = \"{TOKEN}\"\nallow_unsigned = true\nallow_plaintext = true\n"
    );
    let config = load(&bare).config;
    assert!(config.endpoints["default"].sign_key.is_empty());
    assert!(config.endpoints["default"].encrypt_key.is_empty());
}

#[test]
fn the_cipher_is_not_found_out_without_a_signature() {
    let unsigned = format!(
        "[endpoints.default]\ntoken = \"{TOKEN}\"\nencrypt_key = \"{ENCRYPT_KEY}\"\nallow_unsigned = true\n"
    );
    refused(&unsigned, "endpoints.default.cipher", "name the cipher");
    load(&format!("{unsigned}cipher = \"aes-gcm\""));
}

#[test]
fn the_iv_fits_the_cipher() {
    let with = |cipher: &str, iv: &str| endpoint(&format!("cipher = \"{cipher}\"\niv = \"{iv}\""));
    for iv in ["prefix12", "suffix12", "zero12", "key12"] {
        refused(&with("aes-cbc", iv), "endpoints.default.iv", "aes-cbc takes 16");
    }
    for iv in ["prefix16", "zero16", "key16", "auto"] {
        load(&with("aes-cbc", iv));
    }
    for iv in ["prefix12", "prefix16", "suffix12", "zero12", "zero16", "key12", "key16"] {
        refused(&with("aes-ecb", iv), "endpoints.default.iv", "has no IV");
        load(&with("aes-gcm", iv));
        load(&with("auto", iv));
    }
    load(&with("aes-ecb", "auto"));
}

#[test]
fn wrong_values_of_an_endpoint_are_refused_with_the_cure() {
    for (line, key, part) in [
        ("path = \"callback\"", "path", "must start with /"),
        ("path = \"/a b\"", "path", "must start with /"),
        ("path = \"/a?b\"", "path", "must start with /"),
        ("dialect = \"EIAM\"", "dialect", "one of \"auto\", \"eiam\", \"ciam\""),
        ("signature_algorithm = \"md5\"", "signature_algorithm", "\"hmac-sha256\", \"hmac-sha1\""),
        (
            "signature_message = \"{nonce}{timestamp}{data}\"",
            "signature_message",
            "at least one character between",
        ),
        ("cipher = \"des\"", "cipher", "\"aes-gcm\", \"aes-ecb\", \"aes-cbc\""),
        ("iv = \"12\"", "iv", "\"prefix12\""),
        (
            "envelope = 1",
            "envelope",
            "is a number without quotes; must be one of \"auto\", \"delimited\"",
        ),
        ("allow_unsigned = \"false\"", "allow_unsigned", "true or false, without quotes"),
        ("timestamp_tolerance = \"0s\"", "timestamp_tolerance", "above zero"),
        ("timestamp_tolerance = 300", "timestamp_tolerance", "such as \"5m\""),
        ("timestamp_tolerance = false", "timestamp_tolerance", "or \"off\""),
        ("on_duplicate = \"ignore\"", "on_duplicate", "\"reject\", \"answer\""),
        ("on_unknown_event = \"\"", "on_unknown_event", "\"accept\", \"reject\""),
        ("check_url_reply = \"ok\"", "check_url_reply", "\"echo\", \"success\""),
        ("reply_timeout = \"4\"", "reply_timeout", "such as \"5m\""),
        ("reply_timeout = \"off\"", "reply_timeout", "such as \"5m\""),
    ] {
        refused(&endpoint(line), &format!("endpoints.default.{key}"), part);
    }
}

#[test]
fn wrong_values_of_the_process_are_refused_with_the_cure() {
    for (table, line, part) in [
        ("server", "listen = \"localhost:8080\"", "\"127.0.0.1:8080\""),
        ("server", "listen = 8080", "is a number without quotes; must be an IP address"),
        ("server", "max_body = \"1023B\"", "1KiB to 64MiB"),
        ("server", "max_body = \"65MiB\"", "1KiB to 64MiB"),
        ("server", "max_body = \"1MB\"", "units: B, KiB, MiB, GiB"),
        ("server", "max_body = 262144", "such as \"256KiB\""),
        ("server", "read_timeout = 10", "such as \"5m\""),
        ("server", "max_connections = 0", "from 1"),
        ("server", "max_connections = \"10\"", "without quotes"),
        ("server", "shutdown_timeout = \"99999999999999d\"", "below 100 years"),
        ("server", "trusted_proxies = \"10.0.0.0/8\"", "must be a list"),
        ("admin", "listen = \"127.0.0.1:8080\"", "the port of server.listen"),
        ("admin", "listen = \"0.0.0.0:8080\"", "the port of server.listen"),
        ("log", "format = \"yaml\"", "\"auto\", \"json\", \"text\""),
        ("log", "level = \"\"", "RUST_LOG directives"),
        ("store", "url = \"mysql://root:canary@h/db\"", "sqlite:///absolute.db"),
        ("store", "url = \"postgres://u:canary/x@h:port/db\"", "postgres://user@host/db"),
        ("store", "url = \"sqlite://a.db?mode=memory\"", "without parameters"),
        ("store", "url = \"postgres://u:7/canary@h/db\"", "percent-encoded"),
        ("store", "password = \"canary\"", "store.url names an SQLite file"),
        ("store", "pool_size = 1", "from 2 to 100"),
        ("store", "pool_size = 101", "from 2 to 100"),
        ("store", "pool_size = \"8\"", "without quotes"),
        ("store", "statement_timeout = \"0s\"", "above zero"),
        ("store", "statement_timeout = 5", "such as \"5m\""),
        ("store", "retention = \"0d\"", "above zero"),
        ("directory", "enabled = 1", "true or false"),
        ("reconcile", "every = \"never\"", "or \"off\""),
        ("reconcile", "max_delete_share = 1.1", "from 0 to 1"),
        ("reconcile", "max_delete_share = nan", "from 0 to 1"),
        ("reconcile", "every = \"1h\"", "add the [idaas] table"),
    ] {
        let key = format!("{table}.{}", line.split(' ').next().unwrap());
        let explicit = endpoint("dialect = \"eiam\"");
        refused(&format!("[{table}]\n{line}\n{explicit}"), &key, part);
    }
    let toml = format!("[server]\ntrusted_proxies = [\"::1\", \"10.0.0.1/8\"]\n{}", endpoint(""));
    refused(&toml, "server.trusted_proxies[1]", "without bits beyond its prefix");
    let toml = format!("[directory]\nexclude = [\"a\", \"\"]\n{}", endpoint(""));
    refused(&toml, "directory.exclude[1]", "not empty");
}

#[test]
fn the_password_of_a_postgresql_store_stands_in_one_place() {
    let place = Place::new();
    let file = place.quoted("password", "canary-pw\n");
    for key in ["password = \"canary-pw\"".to_owned(), format!("password_file = {file}")] {
        let toml = |url: &str| format!("[store]\nurl = \"{url}\"\n{key}\n{}", endpoint(""));
        let name = format!("store.{}", key.split(' ').next().unwrap());
        let hosts = "h1:5432,h2/db?target_session_attrs=read-write";
        for url in [&format!("postgres://u@{hosts}"), "postgresql:///db?host=/var/run/postgresql"] {
            let loaded = load(&toml(url));
            assert!(loaded.to_toml().contains(&format!("url = \"{url}\"")), "{url}");
            assert_eq!(loaded.config.store.password.unwrap().expose_secret(), "canary-pw");
        }
        for url in ["postgres://u:canary@h/db", "postgres://u@h/db?password=canary"] {
            refused(&toml(url), &name, "the URL in store.url has a password");
        }
        refused(&toml("sqlite://a.db"), &name, "store.url names an SQLite file");
    }
    let both = format!("password = \"canary\"\npassword_file = {file}");
    let toml = format!("[store]\nurl = \"postgres://u@h/db\"\n{both}\n{}", endpoint(""));
    refused(&toml, "store.password", "is set, and so is password_file");
    let env = [("BAMBOOHOOK__STORE__PASSWORD", "canary"), ("BAMBOOHOOK__STORE__POOL_SIZE", "20")];
    let toml = format!("[store]\nurl = \"postgres://u@h/db\"\n{}", endpoint(""));
    let loaded = load_with(&toml, &env);
    assert_eq!(loaded.config.store.pool_size, 20);
    let printed = loaded.to_toml();
    assert!(
        printed.contains("password = \"<redacted>\"  # env BAMBOOHOOK__STORE__PASSWORD"),
        "{printed}"
    );
    assert!(!printed.contains("canary") && !format!("{loaded:?}").contains("canary"), "{printed}");
}

#[test]
fn wrong_values_of_the_idaas_api_are_refused_without_showing_them() {
    for (line, key, part) in [
        ("base_url = \"https://u:canary@a.example\"", "base_url", "without user"),
        ("base_url = \"https://a.example/?canary\"", "base_url", "without user, password, query"),
        ("base_url = \"a.example\"", "base_url", "http:// or https://"),
        ("client_id = \"\"", "client_id", "the client's id"),
        ("auth = \"digest\"", "auth", "\"basic\", \"form\""),
        ("timeout = \"0ms\"", "timeout", "above zero"),
        ("time_zone = \"Asia/Shanghai\"", "time_zone", "\"+08:00\""),
    ] {
        let others: String =
            IDAAS.lines().filter(|it| !it.starts_with(key)).fold(String::new(), |mut text, it| {
                writeln!(text, "{it}").unwrap();
                text
            });
        refused(&format!("{}{others}{line}\n", endpoint("")), &format!("idaas.{key}"), part);
    }
}

#[test]
fn wrong_values_of_a_handler_are_refused_with_the_cure() {
    for (lines, key, part) in [
        (
            "type = \"kafka\"\nurl = \"x\"",
            "type",
            "one of \"log\", \"http\", \"command\", \"rust\"",
        ),
        ("events = []", "events", "write [\"*\"] for all"),
        ("events = [\"\"]", "events[0]", "must not be empty"),
        ("events = \"*\"", "events", "must be a list"),
        ("endpoints = []", "endpoints", "write [\"*\"] for all"),
        (
            "endpoints = [\"default\", \"hr*\"]",
            "endpoints[1]",
            "matches no endpoint; there are: default",
        ),
        ("mode = \"sync\"", "mode", "\"queued\", \"inline\""),
        ("concurrency = 0", "concurrency", "from 1"),
        ("max_attempts = -1", "max_attempts", "from 1"),
        ("timeout = \"0s\"", "timeout", "above zero"),
        ("retry_first = \"2h\"", "retry_first", "longer than retry_max"),
        ("details = \"no\"", "details", "true or false"),
        ("details_by = \"name\"", "details_by", "\"id\", \"username\""),
    ] {
        refused(&handler(lines), &format!("handlers.x.{key}"), part);
    }
}

#[test]
fn wrong_keys_of_a_type_of_handler_are_refused_with_the_cure() {
    for (lines, key, part) in [
        ("type = \"http\"", "url", "is missing; set url = "),
        (
            "type = \"http\"\nurl = \"https://u:canary@a.example\"",
            "url",
            "credentials go into headers",
        ),
        ("type = \"http\"\nurl = \"ftp://a.example\"", "url", "http:// or https://"),
        (
            "type = \"http\"\nurl = \"https://a\"\nheaders = \"canary\"",
            "headers",
            "must be a table",
        ),
        ("type = \"http\"\nurl = \"https://a\"\nheaders.X = 5", "headers.X", "in quotes"),
        (
            "type = \"http\"\nurl = \"https://a\"\nheaders.X = \"canary\\n\"",
            "headers.X",
            "printable ASCII",
        ),
        (
            "type = \"http\"\nurl = \"https://a\"\nheaders.\"a b\" = \"canary\"",
            "headers.\"a b\"",
            "HTTP token",
        ),
        (
            "type = \"http\"\nurl = \"https://a\"\nheaders = { a = \"\", A = \"\" }",
            "headers",
            "twice",
        ),
        ("type = \"http\"\nurl = \"https://a\"\nsecret = \"\"", "secret", "is empty"),
        ("type = \"command\"", "argv", "is missing; set argv = "),
        ("type = \"command\"\nargv = []", "argv", "path of the command"),
        ("type = \"command\"\nargv = [\"notify\"]", "argv", "path of the command"),
        ("type = \"command\"\nargv = \"/bin/true\"", "argv", "must be a list"),
        ("type = \"command\"\nargv = [\"/bin/true\"]\nenv.A = 1", "env.A", "in quotes"),
        (
            "type = \"command\"\nargv = [\"/bin/true\"]\nenv.\"A=B\" = \"canary\"",
            "env.\"A=B\"",
            "without =",
        ),
        ("url = \"https://a\"", "url", "is not a known key"),
        ("type = \"http\"\nurl = \"https://a\"\nargv = [\"/a\"]", "argv", "is not a known key"),
        ("type = \"rust\"\nenv = {}", "env", "is not a known key"),
    ] {
        refused(&handler(lines), &format!("handlers.x.{key}"), part);
    }
}

#[test]
fn every_type_of_handler_loads() {
    for lines in [
        "type = \"log\"",
        "type = \"rust\"",
        "type = \"http\"\nurl = \"http://127.0.0.1:1/x?y=z\"",
        "type = \"http\"\nurl = \"https://a\"\nsecret = \"whsec_x\"\nheaders = {}",
        "type = \"command\"\nargv = [\"./bin/notify\", \"\"]\nenv = { A = \"\" }",
    ] {
        load(&handler(lines));
    }
}

#[test]
fn an_unknown_key_is_refused_at_every_level_with_a_suggestion_where_one_is_near() {
    refused(
        &format!("[endpoint.default]\n{}", endpoint("")),
        "endpoint",
        "did you mean endpoints?",
    );
    refused(&endpoint("tokens = \"canary\""), "endpoints.default.tokens", "did you mean token?");
    refused(&format!("colour = 1\n{}", endpoint("")), "colour", "known here: admin, directory");
    refused(&handler("retries = 1"), "handlers.x.retries", "is not a known key");
    refused(&format!("\"a\\nb.c\" = 1\n{}", endpoint("")), "\"a\\u000Ab.c\"", "is not a known key");
    refused(
        &format!("\"server.listen\" = \"x\"\n{}", endpoint("")),
        "\"server.listen\"",
        "is not a known key",
    );
    let variable = "BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKNE";
    refused_with(
        &endpoint(""),
        &[(variable, "canary")],
        &format!("endpoints.default.tokne (env {variable})"),
        "did you mean token?",
    );
    refused_with(
        &endpoint(""),
        &[("BAMBOOHOOK__", "canary")],
        "\"\" (env BAMBOOHOOK__)",
        "is not a known key",
    );
}

#[test]
fn a_table_is_a_table() {
    refused(&format!("log = \"info\"\n{}", endpoint("")), "log", "must be a table: [log]");
    refused(
        &format!("handlers.x = true\n{}", endpoint("")),
        "handlers.x",
        "must be a table: [handlers.x]",
    );
    refused("endpoints = [\"default\"]", "endpoints", "must be a table: [endpoints]");
    let env = [("BAMBOOHOOK__LOG", "info"), ("BAMBOOHOOK__LOG__LEVEL", "info")];
    let text = load_error(&endpoint(""), &env);
    assert!(text.contains("log (env BAMBOOHOOK__LOG): must be a table"), "{text}");
    assert!(text.contains("(env BAMBOOHOOK__LOG__LEVEL): is not a table"), "{text}");
}

#[test]
fn two_variables_for_one_key_are_refused() {
    let env = [("BAMBOOHOOK__LOG__LEVEL", "info"), ("BAMBOOHOOK__log__level", "warn")];
    refused_with(&endpoint(""), &env, "log.level", "is set by env BAMBOOHOOK__LOG__LEVEL too");
}

#[test]
fn a_variable_that_is_not_unicode_is_refused() {
    let value = String::from_utf8_lossy(b"canary\xff").into_owned();
    let env =
        [("BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN", value.as_str()), ("OTHER", value.as_str())];
    let key = "endpoints.default.token (env BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN)";
    refused_with(&endpoint(""), &env, key, "is not Unicode text");
}

#[test]
fn names_of_endpoints_and_handlers_are_short_and_plain() {
    for name in ["\"\"", "\"a b\"", "\"a.b\"", "\"é\"", &"x".repeat(65)] {
        refused(
            &format!("{}\n[handlers.{name}]", endpoint("")),
            &format!("handlers.{name}"),
            "1 to 64 ASCII letters",
        );
        refused(
            &format!("{}\n[endpoints.{name}]", endpoint("")),
            &format!("endpoints.{name}"),
            "1 to 64 ASCII letters",
        );
    }
    load(&format!("{}\n[handlers.{}]", endpoint(""), "x".repeat(64)));
}

#[test]
fn two_endpoints_do_not_share_a_path() {
    let two = format!("{}[endpoints.hr]\n{KEYS}", endpoint(""));
    refused(&two, "endpoints.hr.path", "the path of endpoints.default too");
    load(&format!("{two}path = \"/callback/\"\n"));
}

#[test]
fn listeners_with_chosen_ports_do_not_collide() {
    let toml = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
        endpoint("")
    );
    load(&toml);
    let toml = format!(
        "[server]\nlisten = \"127.0.0.2:80\"\n[admin]\nlisten = \"127.0.0.1:80\"\n{}",
        endpoint("")
    );
    load(&toml);
}

#[test]
fn reconciliation_takes_endpoints_that_exist_and_name_their_dialect() {
    let with = |reconcile: &str, dialect: &str| {
        format!("[reconcile]\n{reconcile}\n{}{IDAAS}", endpoint(dialect))
    };
    refused(&with("endpoints = [\"hr\"]", ""), "reconcile.endpoints[0]", "there are: default");
    refused(
        &with("endpoints = [\"default\"]", ""),
        "reconcile.endpoints",
        "set endpoints.default.dialect",
    );
    refused(&with("every = \"1h\"", ""), "reconcile.endpoints", "set endpoints.default.dialect");
    let config = load(&with("every = \"1h\"", "dialect = \"ciam\"")).config;
    assert_eq!(config.reconcile.every, Some(Duration::from_hours(1)));
    let config =
        load(&with("endpoints = [\"default\"]\nmax_delete_share = 1", "dialect = \"eiam\"")).config;
    assert_eq!(config.reconcile.endpoints, ["default"]);
}

#[test]
fn every_problem_is_reported_at_once_and_in_order() {
    let toml = "[server]\nlisten = 1\nmax_body = 2\n[endpoints.b]\n[endpoints.a]\npath = \"x\"\n[zebra]\n[handlers.h]\ntype = \"x\"\n";
    let text = load_error(toml, &[("BAMBOOHOOK__STORE__RETENTION", "1")]);
    let keys: Vec<&str> = text.lines().map(|it| it.split([' ', ':']).next().unwrap()).collect();
    let expected = [
        "endpoints.a.encrypt_key",
        "endpoints.a.path",
        "endpoints.a.sign_key",
        "endpoints.a.token",
        "endpoints.b.encrypt_key",
        "endpoints.b.sign_key",
        "endpoints.b.token",
        "handlers.h.type",
        "server.listen",
        "server.max_body",
        "store.retention",
        "zebra",
    ];
    assert_eq!(keys, expected, "{text}");
}

#[test]
fn a_trusted_proxy_is_known_by_its_address() {
    let toml =
        format!("[server]\ntrusted_proxies = [\"2001:db8::1\", \"10.0.0.0/8\"]\n{}", endpoint(""));
    let proxies = load(&toml).config.server.trusted_proxies;
    let trusted =
        |text: &str| proxies.iter().any(|it| it.contains(text.parse::<IpAddr>().unwrap()));
    assert!(trusted("2001:db8::1") && trusted("10.9.9.9") && trusted("::ffff:10.9.9.9"));
    assert!(!trusted("2001:db8::2") && !trusted("11.0.0.1"));
}

/// Everything that can hold something secret, all at once.
fn full_of_canaries(place: &Place) -> String {
    let file = place.quoted("sign", "canary-sign\n");
    format!(
        "[store]\nurl = \"postgres://u:canary-pw@h/db?password=canary-pw2&sslmode=require\"\n{IDAAS}\n\
         [endpoints.default]\ntoken = [\"canary-1\", \"canary-2\"]\nsign_key_file = {file}\nencrypt_key = \"{ENCRYPT_KEY}\"\n\
         [handlers.h]\ntype = \"http\"\nurl = \"https://a\"\nsecret = \"canary\"\nheaders = {{ Authorization = \"canary\", \"x~.y\" = \"canary\" }}\n\
         [handlers.c]\ntype = \"command\"\nargv = [\"/bin/true\"]\nenv = {{ A = \"canary\" }}\n"
    )
}

#[test]
fn no_secret_shows_in_the_printout_or_in_debug() {
    let place = Place::new();
    let env = [
        ("BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN", "canary"),
        ("BAMBOOHOOK__HANDLERS__H__HEADERS__B", "canary"),
    ];
    let loaded = place.load(&full_of_canaries(&place), &env).unwrap();
    let debug = format!("{loaded:?} {loaded:#?}");
    assert!(!debug.contains("canary"), "{debug}");
    let printed = loaded.to_toml();
    assert!(!printed.contains("canary"), "{printed}");
    let url = "postgres://u:***@h/db?password=***&sslmode=require";
    assert!(printed.contains(url), "{printed}");
    assert!(printed.contains("client_secret = \"<redacted>\"  # file "), "{printed}");
    assert!(
        printed.contains("token = \"<redacted>\"  # env BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN"),
        "{printed}"
    );
    assert!(
        printed.contains("B = \"<redacted>\"  # env BAMBOOHOOK__HANDLERS__H__HEADERS__B"),
        "{printed}"
    );
}

#[test]
fn no_secret_shows_in_any_refusal() {
    let place = Place::new();
    let valid = full_of_canaries(&place);
    let mutilate = ["\"canary", "canary\"", "[", "]", " = ", "\"", "{", "https"];
    for piece in mutilate {
        for (index, _) in valid.match_indices(piece) {
            for other in ["", "\"\"\"", "7", "\n", "#", "=", "\\"] {
                let mut toml = valid.clone();
                toml.replace_range(index..index + piece.len(), other);
                if let Err(error) = place.load(&toml, &[]) {
                    let text = format!("{error} {error:?}");
                    assert!(!text.contains("canary"), "{piece:?} to {other:?}: {text}");
                }
            }
        }
    }
}

#[test]
fn the_printout_is_toml_and_holds_every_key_of_the_defaults() {
    let place = Place::new();
    let loaded = place.load(&full_of_canaries(&place), &[]).unwrap();
    let printed = parse_toml(&loaded.to_toml());
    let table = |tree: &Map<String, Value>, path: &[&str]| {
        path.iter().fold(tree.clone(), |tree, key| tree[*key].clone().into_table().unwrap())
    };
    let defaults = parse_toml(&fs::read_to_string(shipped("default.toml")).unwrap());
    for (in_defaults, in_printout) in [
        (vec!["server"], vec!["server"]),
        (vec!["admin"], vec!["admin"]),
        (vec!["log"], vec!["log"]),
        (vec!["store"], vec!["store"]),
        (vec!["idaas"], vec!["idaas"]),
        (vec!["endpoints", "default"], vec!["endpoints", "default"]),
        (vec!["handlers", "audit"], vec!["handlers", "h"]),
        (vec!["handlers", "audit"], vec!["handlers", "c"]),
        (vec!["directory"], vec!["directory"]),
        (vec!["reconcile"], vec!["reconcile"]),
    ] {
        let printed = table(&printed, &in_printout);
        for (key, value) in table(&defaults, &in_defaults) {
            let there = printed.get(&key).or_else(|| printed.get(&format!("{key}_file")));
            let Some(there) = there else { unreachable!("{in_printout:?} lacks {key}") };
            let same_kind =
                std::mem::discriminant(&there.kind) == std::mem::discriminant(&value.kind);
            assert!(same_kind || matches!(there.kind, ValueKind::Array(_)), "{key}");
        }
    }
    for line in loaded.to_toml().lines().filter(|it| !it.is_empty() && !it.starts_with(['[', '#']))
    {
        assert!(
            ["  # default", "  # file ", "  # env "].iter().any(|it| line.contains(it)),
            "{line}"
        );
    }
}

#[test]
fn what_is_not_set_is_printed_as_in_the_defaults() {
    let toml = format!(
        "[endpoints.default]\ntoken = \"{TOKEN}\"\nallow_unsigned = true\nallow_plaintext = true\n"
    );
    let printed = load(&toml).to_toml();
    assert!(printed.contains("sign_key = \"\"  # default\n"), "{printed}");
    assert!(printed.contains("encrypt_key = \"\"  # default\n"), "{printed}");
    assert!(printed.contains("# [idaas] is not set"), "{printed}");
    parse_toml(&printed);
    // Without secrets the printout is itself a file of settings.
    let again = printed
        .replace("<redacted>", TOKEN)
        .replace("\npassword = \"\"", "\n")
        .replace("sign_key = \"\"", "")
        .replace("encrypt_key = \"\"", "");
    assert_eq!(load(&again.replace("  # ", "\n# ")).config.endpoints.len(), 1);
}

#[test]
fn the_printout_follows_the_order_of_the_defaults() {
    let place = Place::new();
    let printed = place.load(&full_of_canaries(&place), &[]).unwrap().to_toml();
    let tables: Vec<&str> = printed.lines().filter(|it| it.starts_with('[')).collect();
    let expected = [
        "[server]",
        "[admin]",
        "[log]",
        "[store]",
        "[idaas]",
        "[endpoints.default]",
        "[handlers.c]",
        "[handlers.c.env]",
        "[handlers.h]",
        "[handlers.h.headers]",
        "[directory]",
        "[reconcile]",
    ];
    assert_eq!(tables, expected);
    let defaults = fs::read_to_string(shipped("default.toml")).unwrap();
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|it| !it.starts_with('#'));
        lines.filter_map(|it| it.split_once(" = ")).map(|(key, _)| key.to_owned()).collect()
    };
    let plain = keys(&load(&format!("{}{IDAAS}[handlers.audit]", endpoint(""))).to_toml());
    assert_eq!(plain, keys(&defaults));
}

#[test]
fn the_shipped_files_load_and_the_defaults_by_themselves_lack_only_secrets() {
    let loaded = Config::load(Some(&shipped("development.toml")), &BTreeMap::new()).unwrap();
    let endpoint = &loaded.config.endpoints["default"];
    assert!(exposed(&endpoint.token)[0].len() >= 32);
    assert_eq!(exposed(&endpoint.sign_key)[0].len(), 16);
    assert_eq!(exposed(&endpoint.encrypt_key)[0].len(), 16);
    assert!(
        loaded.config.server.listen.ip().is_loopback()
            && loaded.config.admin.listen.ip().is_loopback()
    );
    assert!(matches!(loaded.config.handlers["audit"].kind, HandlerKind::Log));
    assert_eq!(loaded.config.log.format, LogFormat::Text);

    let error = Config::load(Some(&shipped("default.toml")), &BTreeMap::new()).unwrap_err();
    let keys: Vec<&str> = error.problems().iter().map(bamboohook::config::Problem::key).collect();
    let expected = [
        "endpoints.default.encrypt_key",
        "endpoints.default.sign_key",
        "endpoints.default.token",
        "idaas.client_id",
        "idaas.client_secret",
        "store.password",
    ];
    assert_eq!(keys, expected, "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_with_secrets_that_everyone_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    let key = place.quoted("key", "a-key-of-16-bytes");
    let inline = endpoint("");
    let files = format!(
        "[endpoints.default]\ntoken_file = {key}\nsign_key_file = {key}\nallow_plaintext = true\n"
    );
    for (toml, mode, warned) in
        [(&inline, 0o644, true), (&inline, 0o640, false), (&files, 0o644, false)]
    {
        let path = place.file("bamboohook.toml", toml);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = Config::load(Some(&path), &BTreeMap::new()).unwrap();
        assert_eq!(
            loaded.warnings().iter().any(|it| it.contains("chmod o-r")),
            warned,
            "{:?}",
            loaded.warnings()
        );
    }
}

#[test]
fn a_variable_with_one_underscore_too_few_is_warned_of() {
    let env = [
        ("BAMBOOHOOK_SERVER__LISTEN", "127.0.0.1:1"),
        ("BAMBOOHOOK_PORT", "tcp://10.0.0.1"),
        ("BAMBOOHOOK_CONFIG", "x"),
    ];
    let loaded = load_with(&endpoint(""), &env);
    let warnings: Vec<&String> =
        loaded.warnings().iter().filter(|it| it.contains("sets nothing")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("BAMBOOHOOK_SERVER__LISTEN"), "{warnings:?}");
}
