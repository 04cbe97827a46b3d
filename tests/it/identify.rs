//! `identify`: what it finds in a capture, and what the command prints of it.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use bamboohook::config::Config;
use bamboohook::event::Dialect;
use bamboohook::simulator::CaptureKeys;
use bamboohook::simulator::DataFault;
use bamboohook::simulator::SignatureFault;
use bamboohook::simulator::Simulator;
use bamboohook::simulator::identify;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::vectors::Settings;
use crate::vectors::endpoint;
use crate::vectors::judge;
use crate::vectors::vectors;

const SIGN_KEY: &str = "QZIhHzGDRvUTLtlX";
const ENCRYPT_KEY: &str = "lOMoSAWlcZnQDVkN";

fn keys(settings: &Settings) -> CaptureKeys {
    let keys =
        |key: &Option<String>| key.iter().map(|it| SecretString::from(it.as_str())).collect();
    CaptureKeys { sign: keys(&settings.sign_key), encrypt: keys(&settings.encrypt_key) }
}

/// Runs the binary with nothing of this process's environment.
fn run(arguments: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bamboohook"));
    command.arg("identify").args(arguments).env_clear();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn the_printed_settings_accept_the_request_that_they_were_found_in() {
    for vector in vectors().into_iter().filter(|it| it.expect == "accept") {
        let name = &vector.name;
        let found = identify(vector.body.as_bytes(), &keys(&vector.settings)).unwrap();
        assert_eq!(found.message.as_ref().unwrap().as_str(), vector.message, "{name}");
        let lines = found.settings("found").unwrap_or_else(|| panic!("{name}: {found:?}"));
        let mut toml = format!("{lines}token = \"0123456789abcdef0123456789abcdef\"\n");
        for (name, key) in
            [("sign_key", &vector.settings.sign_key), ("encrypt_key", &vector.settings.encrypt_key)]
        {
            toml += &key.as_ref().map(|key| format!("{name} = \"{key}\"\n")).unwrap_or_default();
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bamboohook.toml");
        fs::write(&file, toml).unwrap();
        let config = Config::load(Some(&file), &[].into()).unwrap().config;
        let (message, _) = judge(&config.endpoints["found"], &vector.body).unwrap();
        assert_eq!(message, vector.message, "{name}");
    }
}

#[test]
fn a_request_that_must_be_refused_yields_no_settings() {
    for vector in vectors().into_iter().filter(|it| it.expect != "accept") {
        let name = &vector.name;
        let found = identify(vector.body.as_bytes(), &keys(&vector.settings)).unwrap();
        assert_eq!(found.settings("found"), None, "{name}");
        assert_eq!(found.signing.is_err(), vector.expect == "signature", "{name}: {found:?}");
    }
}

#[test]
fn other_message_forms_are_found_and_named_where_no_setting_says_them() {
    let at = Timestamp::from_millisecond(1_783_611_176_476).unwrap();
    let keys = CaptureKeys { sign: vec![SIGN_KEY.into()], encrypt: vec![ENCRYPT_KEY.into()] };
    let captured = |template: &str| {
        let mut endpoint =
            endpoint(&[("TOKEN", "t"), ("SIGN_KEY", SIGN_KEY), ("ENCRYPT_KEY", ENCRYPT_KEY)]);
        endpoint.signature_message = template.to_owned();
        let simulator = Simulator::new(&endpoint, Dialect::Eiam).unwrap();
        simulator.callback_with("CREATE_USER", "{\"username\":\"a\"}", at, "nonce").unwrap().body()
    };
    for template in [
        "{timestamp}&{nonce}&{data}",
        "{data}|{event}|{timestamp}|{nonce}",
        "data={data}&eventType={event}&nonce={nonce}&timestamp={timestamp}",
    ] {
        let found = identify(captured(template).as_bytes(), &keys).unwrap();
        let settings = found.settings("x").unwrap();
        assert!(settings.contains(&format!("signature_message = \"{template}\"\n")), "{settings}");
    }
    for template in [
        "{nonce}{timestamp}{event}{data}",
        "{timestamp}&{data}",
        "{\"nonce\":\"{nonce}\",\"timestamp\":{timestamp},\"eventType\":\"{event}\",\"data\":\"{data}\"}",
    ] {
        let found = identify(captured(template).as_bytes(), &keys).unwrap();
        assert_eq!(found.settings("x"), None, "{template}");
        let signing = found.signing.unwrap().unwrap();
        assert_eq!(signing.text.to_string(), format!("an HMAC over {template:?}"));
    }
}

#[test]
fn an_order_that_may_come_from_sorting_is_pointed_out() {
    let keys = CaptureKeys { sign: vec![SIGN_KEY.into()], encrypt: Vec::new() };
    for (template, doubtful) in
        [("{timestamp}&{data}&{nonce}", true), ("{data}&{timestamp}&{nonce}", false)]
    {
        let mut endpoint =
            endpoint(&[("TOKEN", "t"), ("SIGN_KEY", SIGN_KEY), ("ALLOW_PLAINTEXT", "true")]);
        endpoint.signature_message = template.to_owned();
        let simulator = Simulator::new(&endpoint, Dialect::Ciam).unwrap();
        let callback =
            simulator.callback_with("USER_LOGIN", "b", Timestamp::UNIX_EPOCH, "c").unwrap();
        let found = identify(callback.body().as_bytes(), &keys).unwrap();
        assert_eq!(found.signing.unwrap().unwrap().may_be_sorted, doubtful, "{template}");
    }
}

#[test]
fn a_salted_hash_is_named() {
    // printf 'thekey1783610513n17' | sha1sum
    let body = r#"{"nonce":"n1","timestamp":1783610513,"event":"USER_LOGIN","data":"7","sign":"ac1538a2c630cfef93bc10f2a11cf91ca79244b2"}"#;
    let keys = CaptureKeys { sign: vec!["thekey".into()], encrypt: Vec::new() };
    let found = identify(body.as_bytes(), &keys).unwrap();
    assert_eq!(found.settings("x"), None);
    let text = found.signing.unwrap().unwrap().text.to_string();
    assert_eq!(text, "a plain hash, without HMAC, of \"{key}{timestamp}{nonce}{data}\"");
}

#[test]
fn a_signature_over_the_decrypted_message_is_named() {
    let at = Timestamp::from_millisecond(1_783_611_176_476).unwrap();
    let plain = endpoint(&[("TOKEN", "t"), ("SIGN_KEY", SIGN_KEY), ("ALLOW_PLAINTEXT", "true")]);
    let sealed = endpoint(&[("TOKEN", "t"), ("SIGN_KEY", SIGN_KEY), ("ENCRYPT_KEY", ENCRYPT_KEY)]);
    let simulator = |endpoint| Simulator::new(endpoint, Dialect::Eiam).unwrap();
    let mut callback =
        simulator(&plain).callback("CREATE_USER", "{\"username\":\"a\"}", at).unwrap();
    callback.data = simulator(&sealed).seal(&callback.data).unwrap();
    let keys = CaptureKeys { sign: vec![SIGN_KEY.into()], encrypt: vec![ENCRYPT_KEY.into()] };
    let found = identify(callback.body().as_bytes(), &keys).unwrap();
    assert_eq!(found.settings("x"), None);
    assert!(found.signing.unwrap().unwrap().over_message);
}

#[test]
fn keys_that_the_request_does_not_use_and_keys_that_it_lacks_are_said() {
    let vector = |name: &str| vectors().into_iter().find(|it| it.name == name).unwrap();
    let plain = vector("plaintext-unsigned");
    let both = CaptureKeys { sign: vec![SIGN_KEY.into()], encrypt: vec![ENCRYPT_KEY.into()] };
    let found = identify(plain.body.as_bytes(), &both).unwrap();
    assert_eq!(found.signing.unwrap_err(), SignatureFault::Unsigned);
    assert_eq!(found.sealing.unwrap_err(), DataFault::NotSealed);
    let found = identify(vector("create-user").body.as_bytes(), &CaptureKeys::default()).unwrap();
    assert_eq!(found.signing.unwrap_err(), SignatureFault::NoKey);
    assert_eq!(found.sealing.unwrap_err(), DataFault::NoKey);
}

#[test]
fn one_of_several_keys_and_a_whole_http_request_will_do() {
    let vector = &vectors()[0];
    let keys = CaptureKeys {
        sign: vec!["wrong".into(), SIGN_KEY.into()],
        encrypt: vec!["0123456789abcdef".into(), ENCRYPT_KEY.into()],
    };
    let head = "POST /callback HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer y\r\n\r\n";
    let capture = format!("{head}{}\n", vector.body);
    let settings = identify(capture.as_bytes(), &keys).unwrap().settings("default");
    assert!(settings.unwrap().contains("iv = \"prefix12\""));
}

#[test]
fn the_command_prints_settings_to_paste_and_never_a_key() {
    let vector = &vectors()[0];
    let keys = ["--sign-key", SIGN_KEY, "--encrypt-key", ENCRYPT_KEY];
    let output = run(&[&["-", "--endpoint", "crm"], &keys[..]].concat(), &vector.body);
    assert!(output.status.success(), "{output:?}");
    insta::assert_snapshot!(text(&output.stdout), @r#"
    [endpoints.crm]
    dialect = "eiam"
    signature_algorithm = "hmac-sha256"
    signature_message = "{nonce}&{timestamp}&{event}&{data}"
    # sign_key_file = "/path/to/the/signing/key"
    cipher = "aes-gcm"
    iv = "prefix12"
    envelope = "delimited"
    # encrypt_key_file = "/path/to/the/encryption/key"
    "#);
    let output = run(&[&["-", "--show-message"], &keys[..]].concat(), &vector.body);
    assert!(text(&output.stdout).contains(&vector.message));
    for shown in [text(&output.stdout), text(&output.stderr)] {
        assert!(!shown.contains(SIGN_KEY) && !shown.contains(ENCRYPT_KEY), "{shown}");
    }
}

#[test]
fn keys_come_from_files_and_from_a_configured_endpoint() {
    let vector = &vectors()[0];
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("sign"), format!("old-key\n{SIGN_KEY}\n")).unwrap();
    fs::write(path("encrypt"), format!("{ENCRYPT_KEY}\n")).unwrap();
    fs::write(path("body.json"), &vector.body).unwrap();
    let toml = format!(
        "[endpoints.crm]\ntoken = \"0123456789abcdef0123456789abcdef\"\nsign_key = \"{SIGN_KEY}\"\nencrypt_key = \"{ENCRYPT_KEY}\"\n"
    );
    fs::write(path("bamboohook.toml"), toml).unwrap();
    let (body, sign, encrypt, config) =
        (path("body.json"), path("sign"), path("encrypt"), path("bamboohook.toml"));
    let by_file = run(&[&body, "--sign-key-file", &sign, "--encrypt-key-file", &encrypt], "");
    assert!(by_file.status.success(), "{by_file:?}");
    let by_endpoint = run(&[&body, "--endpoint", "crm", "--config", &config], "");
    assert!(by_endpoint.status.success(), "{by_endpoint:?}");
    let unknown = run(&[&body, "--endpoint", "erp", "--config", &config], "");
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
}

#[test]
fn the_command_says_on_stderr_which_step_failed_first() {
    let body = &vectors()[0].body;
    let wrong = run(&["-", "--sign-key", "wrong", "--encrypt-key", ENCRYPT_KEY], body);
    let unreadable = run(&["-", "--sign-key", SIGN_KEY, "--encrypt-key", "0123456789abcdef"], body);
    let malformed = run(&["-"], "{\"nonce\":1}");
    for (output, step, detail) in [
        (
            wrong,
            "failed first: the signature",
            "decryption: aes-gcm prefix12 with envelope delimited fits",
        ),
        (unreadable, "failed first: decryption", "signature: hmac-sha256 fits"),
        (malformed, "failed first: reading the request", "eventType"),
    ] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        let said = text(&output.stderr);
        assert!(said.contains(step) && said.contains(detail), "{said}");
    }
    assert_eq!(run(&[], "").status.code(), Some(2));
    assert_eq!(run(&["/nowhere/at/all"], "").status.code(), Some(1));
}
