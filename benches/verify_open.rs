//! What one callback costs before it is stored: reading, verifying, opening; and the sealing of its answer. Measures no I/O.

use std::collections::BTreeMap;
use std::hint::black_box;

use bamboohook::config::Config;
use bamboohook::config::Endpoint;
use bamboohook::crypto::Codec;
use bamboohook::crypto::Opened;
use bamboohook::event::Dialect;
use bamboohook::protocol::Request;
use bamboohook::protocol::success;
use bamboohook::simulator::Simulator;
use bamboohook::simulator::sample_message;
use bamboohook::verifier::SignatureCheck;
use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use jiff::Timestamp;

const AUTO: &[(&str, &str)] = &[];
const EIAM: &[(&str, &str)] = &[
    ("DIALECT", "eiam"),
    ("SIGNATURE_ALGORITHM", "hmac-sha256"),
    ("CIPHER", "aes-gcm"),
    ("IV", "prefix12"),
    ("ENVELOPE", "delimited"),
];
const CIAM: &[(&str, &str)] = &[
    ("DIALECT", "ciam"),
    ("SIGNATURE_ALGORITHM", "hmac-sha256"),
    ("CIPHER", "aes-ecb"),
    ("ENVELOPE", "bare"),
];

/// The rooms between the socket and the store, for one endpoint.
struct Receiver {
    dialect: Option<Dialect>,
    check: SignatureCheck,
    codec: Codec,
}

impl Receiver {
    fn new(endpoint: &Endpoint) -> Option<Self> {
        let codec = Codec::new(endpoint).ok()??;
        Some(Self { dialect: endpoint.dialect, check: SignatureCheck::new(endpoint), codec })
    }

    fn receive(&self, body: &[u8]) -> Option<Opened> {
        let request = Request::parse(body, self.dialect).ok()?;
        black_box(self.check.check(&request).ok()?);
        self.codec.open(request.data.as_str()).ok()
    }

    fn answer(&self, opened: &Opened) -> Option<String> {
        let id = r#"{"id":"c3a26dd3-8e5b-4c9f-9d1a-000000000001"}"#;
        Some(success(&self.codec.seal(&opened.seal, id).ok()?))
    }
}

fn endpoint(choices: &[(&str, &str)]) -> Option<Endpoint> {
    let keys = [
        ("TOKEN", "a-token-of-the-bench"),
        ("SIGN_KEY", "QZIhHzGDRvUTLtlX"),
        ("ENCRYPT_KEY", "lOMoSAWlcZnQDVkN"),
    ];
    let setting = |(key, value): &(&str, &str)| {
        (format!("BAMBOOHOOK__ENDPOINTS__DEFAULT__{key}"), (*value).to_owned())
    };
    let env: BTreeMap<String, String> = keys.iter().chain(choices).map(setting).collect();
    Config::load(None, &env).ok()?.config.endpoints.remove("default")
}

fn body(dialect: Dialect, event: &str) -> Option<String> {
    let at = Timestamp::from_millisecond(1_783_611_176_476).ok()?;
    let simulator = Simulator::new(&endpoint(AUTO)?, dialect).ok()?;
    let callback = simulator.callback(event, &sample_message(dialect, event, 1), at).ok()?;
    Some(callback.body())
}

fn verify_open(criterion: &mut Criterion) {
    for (name, dialect, event, choices) in [
        ("eiam CREATE_USER gcm, explicit", Dialect::Eiam, "CREATE_USER", EIAM),
        ("eiam CREATE_USER gcm, auto", Dialect::Eiam, "CREATE_USER", AUTO),
        ("ciam USER_CREATE ecb, explicit", Dialect::Ciam, "USER_CREATE", CIAM),
        ("ciam USER_CREATE ecb, auto", Dialect::Ciam, "USER_CREATE", AUTO),
    ] {
        let receiver = endpoint(choices).and_then(|it| Receiver::new(&it));
        let (Some(receiver), Some(body)) = (receiver, body(dialect, event)) else { continue };
        let opened = receiver.receive(body.as_bytes());
        assert!(opened.is_some(), "{name} must be accepted, or the bench measures refusals");
        criterion.bench_function(&format!("receive {name}"), |bench| {
            bench.iter(|| receiver.receive(black_box(body.as_bytes())));
        });
        criterion.bench_function(&format!("answer {name}"), |bench| {
            bench.iter(|| opened.as_ref().and_then(|opened| receiver.answer(black_box(opened))));
        });
    }
}

criterion_group!(benches, verify_open);
criterion_main!(benches);
