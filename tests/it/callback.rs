//! The table of answers: what a sender is told when all is well, and when it is not.

use bamboohook::config::CipherSetting;
use bamboohook::config::EnvelopeSetting;
use bamboohook::config::IvSetting;
use bamboohook::event::Dialect;
use bamboohook::simulator::Simulator;
use uuid::Uuid;

use crate::support::app::PLAIN_ENDPOINT;
use crate::support::app::TestApp;
use crate::support::wire::post;

/// Makes a bad body of a good one.
type Spoil = fn(&str) -> String;

const USER: &str = r#"{"username":"zhangsan","name":"张三 R&D"}"#;

#[tokio::test]
async fn an_eiam_request_is_answered_in_its_own_layout() {
    let app = TestApp::start(&[]).await;
    for (cipher, iv) in [
        (CipherSetting::AesGcm, IvSetting::Prefix12),
        (CipherSetting::AesGcm, IvSetting::Prefix16),
        (CipherSetting::AesGcm, IvSetting::Suffix12),
        (CipherSetting::AesGcm, IvSetting::Zero12),
        (CipherSetting::AesGcm, IvSetting::Zero16),
        (CipherSetting::AesGcm, IvSetting::Key12),
        (CipherSetting::AesGcm, IvSetting::Key16),
        (CipherSetting::AesEcb, IvSetting::Auto),
        (CipherSetting::AesCbc, IvSetting::Prefix16),
        (CipherSetting::AesCbc, IvSetting::Zero16),
        (CipherSetting::AesCbc, IvSetting::Key16),
    ] {
        for envelope in [EnvelopeSetting::Delimited, EnvelopeSetting::Json, EnvelopeSetting::Bare] {
            let mut endpoint = app.endpoint("default");
            (endpoint.cipher, endpoint.iv, endpoint.envelope) = (cipher, iv, envelope);
            let idaas = Simulator::new(&endpoint, Dialect::Eiam).unwrap();
            let message = "a text of more than one block & a half";
            let check = idaas.callback("CHECK_URL", message, app.now()).unwrap();
            let answer = app.deliver(&check).await;
            let read = idaas.read_answer(answer.status, &answer.body).unwrap();
            assert_eq!(read.data.as_deref(), Some(message), "{cipher:?} {iv:?} {envelope:?}");
            let repeats = answer.text().contains(&check.data);
            assert!(!repeats || envelope == EnvelopeSetting::Bare, "the random part is fresh");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn each_eiam_event_is_answered_as_idaas_expects() {
    let app = TestApp::start(&[]).await;
    for event in ["CREATE_USER", "CREATE_ORGANIZATION", "CREATE_GROUP"] {
        let answer = app.deliver(&app.callback(event, USER)).await;
        answer.accepted();
        let read: serde_json::Value =
            serde_json::from_str(&app.read(Dialect::Eiam, &answer)).unwrap();
        assert_eq!(read.as_object().unwrap().len(), 1, "{event}");
        read["id"].as_str().unwrap().parse::<Uuid>().unwrap();
    }
    let named = r#"{"id":"app-7","username":"lisi","code":"sales"}"#;
    for event in ["UPDATE_USER", "UPDATE_ORGANIZATION", "UPDATE_USER "] {
        let answer = app.deliver(&app.callback(event, named)).await;
        assert_eq!(app.read(Dialect::Eiam, &answer), r#"{"id":"app-7"}"#, "{event}");
    }
    for event in ["DELETE_USER", "DELETE_ORGANIZATION ", "SOMETHING_NEW"] {
        let callback = app.idaas(Dialect::Eiam).callback(event, named, app.now()).unwrap();
        let answer = app.deliver(&callback).await;
        assert_eq!(answer.accepted(), r#"{"code":"200","message":"success","data":""}"#, "{event}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let events: Vec<String> = app.events().into_iter().map(|it| it.event.event).collect();
    assert_eq!(events[5], "UPDATE_USER", "blanks are dropped for routing");
    assert_eq!(events.len(), 9);
    app.stop().await;
}

#[tokio::test]
async fn a_ciam_request_is_answered_200_without_a_body() {
    let app = TestApp::start(&[]).await;
    for event in ["USER_LOGIN", "USER_CREATE", "USER_DELETE", "USER_OF_TOMORROW"] {
        let answer = app.deliver(&app.callback(event, "20200223170310946-34EE-3403BF88A")).await;
        assert_eq!(answer.accepted(), "", "{event}");
    }
    let events = app.events();
    assert_eq!(events[0].event.subject.as_deref(), Some("20200223170310946-34EE-3403BF88A"));
    app.stop().await;
}

#[tokio::test]
async fn a_check_of_the_url_is_echoed_unchanged_or_answered_by_the_setting() {
    let app = TestApp::start_with(PLAIN_ENDPOINT, &[]).await;
    for text in [" leading blank", "<script>alert(1)</script>", "R&D \"quoted\" \\ 中文", ""] {
        let answer = app.deliver(&app.callback("CHECK_URL", text)).await;
        assert_eq!(app.read(Dialect::Eiam, &answer), text);
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    app.stop().await;
    let app = TestApp::start(&[("endpoints.default.check_url_reply", "success")]).await;
    let answer = app.deliver(&app.callback("CHECK_URL", "2852325935078")).await;
    assert_eq!(app.read(Dialect::Eiam, &answer), "success");
    assert!(!answer.text().contains("\"data\":\"success\""), "it is sealed like any other answer");
    app.stop().await;
}

#[tokio::test]
async fn after_each_refusal_the_request_as_it_should_be_is_accepted() {
    let app = TestApp::start(&[]).await;
    let bad_bodies: [(u16, Spoil); 9] = [
        (400, |it| it.replace('}', "")),
        (400, |it| it.replace("\"nonce\"", "\"Nonce\"")),
        (400, |it| it.replace("{\"nonce\"", "{\"data\":\"\",\"nonce\"")),
        (400, |it| it.replace("{\"nonce\":\"", "{\"nonce\":\"&")),
        (400, |it| it.replace("CREATE_USER", "CREATE\\u0007USER")),
        (400, |it| it.replace("\"timestamp\":", "\"timestamp\":0.")),
        (401, |it| it.replace("CREATE_USER", "DELETE_USER")),
        (401, |it| it.replace("{\"nonce\":\"", "{\"nonce\":\"x")),
        (401, |it| it.replace("\"timestamp\":1", "\"timestamp\":2")),
    ];
    for (status, spoil) in bad_bodies {
        let good = app.callback("CREATE_USER", USER);
        let body = good.body();
        assert_ne!(spoil(&body), body);
        let before = app.events().len();
        app.deliver_body(spoil(&body)).await.refused(status);
        assert_eq!(app.events().len(), before, "nothing is written for a refused request");
        app.deliver(&good).await.accepted();
    }
    app.stop().await;
}

#[tokio::test]
async fn a_wrong_token_and_a_wrong_signature_are_told_the_same() {
    let app = TestApp::start(&[]).await;
    let good = app.callback("CREATE_USER", USER);
    let wrong_token = post("/callback", "Authorization: Bearer wrong\r\n", good.body());
    let answer = app.deliver_raw(wrong_token).await;
    assert_eq!(answer.text(), r#"{"code":"401","message":"authentication failed"}"#);
    let body = good.body();
    let signed = format!("\"signature\":\"{}\"", good.signature);
    for signature in
        [r#""signature":"""#, r#""signature":null"#, r#""signature":"AAAA""#, r#""x":1"#]
    {
        let refused = app.deliver_body(body.replace(&signed, signature)).await;
        assert_eq!(refused.refused(401), "authentication failed", "{signature}");
        assert_eq!(refused.body, answer.body);
        assert_eq!(refused.header("www-authenticate"), answer.header("www-authenticate"));
    }
    app.deliver(&good).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn each_malformed_field_is_named_in_the_answer() {
    let app = TestApp::start(&[]).await;
    let body = app.callback("CREATE_USER", USER).body();
    for (field, from, to) in [
        ("nonce", "\"nonce\":", "\"nonces\":"),
        ("nonce", "\"nonce\":", "\"nonce\":7,\"n\":"),
        ("nonce", "\"nonce\":\"", "\"nonce\":\"\\n"),
        ("timestamp", "\"timestamp\":", "\"time\":"),
        ("timestamp", "\"timestamp\":", "\"timestamp\":-"),
        ("eventType", "\"CREATE_USER\"", "\"  \""),
        ("eventType", "\"CREATE_USER\"", "\"A&B\""),
        ("eventType", "\"CREATE_USER\"", "7"),
        ("data", "\"data\":", "\"dat\":"),
        ("data", "\"data\":", "\"data\":[],\"d\":"),
        ("data", "\"data\":", "\"data\":{},\"d\":"),
        ("data", "\"data\":", "\"data\":null,\"d\":"),
        ("signature", "\"signature\":", "\"signature\":7,\"s\":"),
        ("signature", "\"signature\":", "\"signature\":[],\"s\":"),
        ("sign", "\"signature\":", "\"sign\":"),
        ("event", "{\"nonce\"", "{\"event\":\"E\",\"nonce\""),
    ] {
        let bad = body.replacen(from, to, 1);
        assert_ne!(bad, body);
        let message = app.deliver_body(bad).await.refused(400);
        assert!(message.contains(field), "{from} {to}: {message}");
    }
    assert_eq!(app.events().len(), 0);
    app.stop().await;
}

#[tokio::test]
async fn an_event_that_the_endpoint_does_not_take_is_refused_only_where_it_says_so() {
    let app = TestApp::start(&[("endpoints.default.on_unknown_event", "reject")]).await;
    for (event, dialect) in [
        ("CREATE_GROUP", Dialect::Eiam),
        ("USER_NEW", Dialect::Ciam),
        ("user_login", Dialect::Ciam),
    ] {
        let callback = app.idaas(dialect).callback(event, "{}", app.now()).unwrap();
        app.deliver(&callback).await.refused(400);
    }
    app.deliver(&app.callback("USER_LOGIN", "id")).await.accepted();
    app.deliver(&app.callback("CREATE_USER", USER)).await.accepted();
    assert_eq!(app.events().len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let app = TestApp::start(&[]).await;
    let good = app.callback("CREATE_USER", USER);
    let mut ids = Vec::new();
    for request in [
        app.request(good.body()),
        app.request(good.body()),
        app.request("{"),
        post("/callback", "", ""),
        post("/", "", ""),
        b"GET /callback HTTP/1.1\r\nHost: h\r\nX-Request-Id: chosen\r\n\r\n".to_vec(),
    ] {
        ids.push(app.deliver_raw(request).await.request_id());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    app.stop().await;
}

#[tokio::test]
async fn an_endpoint_of_one_dialect_refuses_the_other() {
    let app = TestApp::start(&[("endpoints.default.dialect", "eiam")]).await;
    let message = app.deliver(&app.callback("USER_LOGIN", "id")).await.refused(400);
    assert!(message.contains("eventType"), "{message}");
    app.deliver(&app.callback("CREATE_USER", USER)).await.accepted();
    app.stop().await;
}
