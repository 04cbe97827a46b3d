//! Request bodies that two readers could understand differently, or not at all.

use crate::support::app::TestApp;

const USER: &str = r#"{"id":"7"}"#;

/// Delivers what `spoil` makes of a good request, then the good request, which must have been left alone.
async fn refuse(app: &TestApp, status: u16, spoil: impl Fn(&str) -> Vec<u8>) -> String {
    let good = app.callback("DELETE_USER", USER).body();
    let bad = spoil(&good);
    assert_ne!(bad, good.as_bytes());
    let message = app.deliver_body(&bad).await.refused(status);
    app.deliver_body(&good).await.accepted();
    message
}

fn prefixed(with: &str) -> impl Fn(&str) -> Vec<u8> {
    move |body| body.replacen('{', &format!("{{{with},"), 1).into_bytes()
}

#[tokio::test]
async fn a_field_that_occurs_twice_is_refused_however_it_is_spelled() {
    let app = TestApp::start(&[]).await;
    for (again, field) in [
        (r#""data":"""#, "data"),
        (r#""d\u0061ta":"""#, "data"),
        (r#""\u0064\u0061\u0074\u0061":null"#, "data"),
        (r#""signature":"""#, "signature"),
        (r#""signature":null"#, "signature"),
        (r#""nonce":"x""#, "nonce"),
        (r#""timestamp":1"#, "timestamp"),
        (r#""eventType":"CHECK_URL""#, "eventType"),
        (r#""event\u0054ype":"CHECK_URL""#, "eventType"),
    ] {
        let message = refuse(&app, 400, prefixed(again)).await;
        assert!(message.contains(field), "{again}: {message}");
    }
    refuse(&app, 400, prefixed(r#""x":1,"x":1"#)).await;
    refuse(&app, 400, prefixed(r#""x":1,"\u0078":1"#)).await;
    app.stop().await;
}

#[tokio::test]
async fn fields_of_both_dialects_or_of_another_case_are_refused() {
    let app = TestApp::start(&[]).await;
    for with in [r#""event":"USER_LOGIN""#, r#""sign":"""#, r#""sign":null"#, r#""s\u0069gn":"x""#]
    {
        refuse(&app, 400, prefixed(with)).await;
    }
    for field in ["nonce", "timestamp", "eventType", "data"] {
        let upper = format!("\"{}\"", field.to_uppercase());
        refuse(&app, 400, |body| body.replace(&format!("\"{field}\""), &upper).into()).await;
    }
    refuse(&app, 401, |body| body.replace("\"signature\"", "\"Signature\"").into()).await;
    refuse(&app, 401, |body| body.replace("\"signature\"", "\"signature \"").into()).await;
    app.stop().await;
}

#[tokio::test]
async fn further_fields_and_white_space_are_ignored() {
    let app = TestApp::start(&[]).await;
    let many: String = (0..5_000).map(|it| format!("\"k{it}\":{it},")).collect();
    let deep = format!("\"deep\":{}{}", "[".repeat(126), "]".repeat(126));
    for with in [
        r#""Data":"x","NONCE":"y""#,
        r#""more":{"data":"x","nonce":[]}"#,
        r#""number":1e400"#,
        r#""text":"\ud800""#,
        r#""__proto__":{"x":1}"#,
        many.trim_end_matches(','),
        &deep,
    ] {
        let body = app.callback("DELETE_USER", USER).body();
        app.deliver_body(prefixed(with)(&body)).await.accepted();
    }
    let body = app.callback("DELETE_USER", USER).body();
    app.deliver_body(format!("\r\n\t {} \n", body.replace(',', " ,\n\t"))).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn unicode_escapes_stand_for_the_characters_that_were_signed() {
    let app = TestApp::start(&[]).await;
    let callback = app.callback("DELETE_USER", USER);
    let escaped =
        |text: &str| -> String { text.bytes().map(|byte| format!("\\u{byte:04x}")).collect() };
    let body = callback.body();
    let body = body
        .replace(&callback.nonce, &escaped(&callback.nonce))
        .replace(&callback.data, &escaped(&callback.data));
    let body = body
        .replace(&callback.signature, &escaped(&callback.signature))
        .replace("nonce", &escaped("nonce"));
    app.deliver_body(body).await.accepted();
    app.deliver(&callback).await.refused(409);
    app.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_utf8_json_object_are_refused() {
    let app = TestApp::start(&[("server.max_body", "2MiB")]).await;
    let many: String = (0..100_000).map(|it| format!("\"k{}\":1,", it / 2)).collect();
    let nested = |levels: usize| format!("\"x\":{}{}", "[".repeat(levels), "]".repeat(levels));
    for with in [
        nested(127),
        nested(10_000),
        "\"x\":tru".to_owned(),
        "\"x\":'1'".to_owned(),
        many.trim_end_matches(',').to_owned(),
        "\"\\ud800\":1".to_owned(),
        "\"x\":\"\u{7}\"".to_owned(),
        "\"x\":01".to_owned(),
        "\"x\":NaN".to_owned(),
        "//\n\"x\":1".to_owned(),
    ] {
        refuse(&app, 400, prefixed(&with)).await;
    }
    refuse(&app, 400, |body| format!("\u{feff}{body}").into()).await;
    refuse(&app, 400, |body| format!("{body}{body}").into()).await;
    refuse(&app, 400, |body| format!("[{body}]").into()).await;
    refuse(&app, 400, |body| format!("{body}\0").into()).await;
    refuse(&app, 400, |body| body.trim_end_matches('}').into()).await;
    refuse(&app, 400, |body| body.replace('}', ",}").into()).await;
    refuse(&app, 400, |body| body.replace("\"data\":\"", "\"data\":\"\\ud800").into()).await;
    refuse(&app, 400, |body| body.replace("\"data\":\"", "\"data\":\"\\udc00\\ud800").into()).await;
    refuse(&app, 400, |body| body.encode_utf16().flat_map(u16::to_be_bytes).collect()).await;
    for invalid in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        refuse(&app, 400, |body| [body.as_bytes(), invalid].concat()).await;
        refuse(&app, 400, |body| {
            let (front, back) = body.split_at(body.find("\"data\":\"").unwrap() + 8);
            [front.as_bytes(), invalid, back.as_bytes()].concat()
        })
        .await;
    }
    for body in ["", " ", "null", "7", "\"text\"", "[]", "{}", "nonce=1&timestamp=2"] {
        app.deliver_body(body).await.refused(400);
    }
    app.stop().await;
}

#[tokio::test]
async fn nonce_and_event_keep_to_printable_ascii_of_a_certain_length() {
    let app = TestApp::start(&[]).await;
    let signed = |nonce: &str, event: &str| {
        let mut callback = app.callback("DELETE_USER", USER);
        (callback.nonce, callback.event) = (nonce.to_owned(), event.to_owned());
        app.sign(&mut callback);
        callback
    };
    let longest = "n".repeat(128);
    let longest_event = "E".repeat(64);
    for (nonce, event) in
        [("1", "E"), (" ", " E "), (&longest, &longest_event), ("~!\"\\{}<>", "a.b/c:d|e")]
    {
        app.deliver(&signed(nonce, event)).await.accepted();
    }
    for nonce in [
        "",
        "a&b",
        "a\nb",
        "a\0b",
        "a\u{7f}b",
        "é",
        "\u{202e}b",
        "１２",
        &format!("{longest}n"),
        &"n".repeat(100_000),
    ] {
        let message = app.deliver(&signed(nonce, "DELETE_USER")).await.refused(400);
        assert!(message.contains("nonce"), "{message}");
    }
    for event in [
        "",
        "    ",
        "A&B",
        "A\r\nB",
        "A\u{1b}[31m",
        "DELETE\u{a0}USER",
        "\u{202e}A",
        &format!("{longest_event}E"),
    ] {
        let message = app.deliver(&signed("n", event)).await.refused(400);
        assert!(message.contains("eventType"), "{message}");
    }
    app.stop().await;
}
