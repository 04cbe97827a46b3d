//! Any text as `data`, and any plaintext sealed and opened again. Must end without a panic and lose nothing.
#![no_main]

use std::sync::LazyLock;

use bamboohook::crypto::Codec;
use bamboohook::crypto::Envelope;
use bamboohook::crypto::Iv;
use bamboohook::crypto::Layout;
use bamboohook::crypto::Seal;
use libfuzzer_sys::fuzz_target;
use secrecy::SecretString;

static CODEC: LazyLock<Codec> = LazyLock::new(|| {
    let keys = ["lOMoSAWlcZnQDVkN", "qfukhLLHDABrJjtLqfukhLLHDABrJjtL"];
    Codec::of_any_layout(&keys.map(SecretString::from)).expect("both keys have a length of AES")
});

fuzz_target!(|text: &str| {
    drop(CODEC.open(text));
    for envelope in Envelope::ALL {
        drop(envelope.unwrap(text));
    }
    for (key, layout) in
        [Layout::Gcm(Iv::Prefix12), Layout::Gcm(Iv::Suffix12)].into_iter().enumerate()
    {
        let seal = Seal { layout, envelope: Envelope::Delimited, key };
        let sealed = CODEC.seal(&seal, text).expect("there is randomness");
        let opened = CODEC.open(&sealed).expect("what was sealed opens");
        assert!(opened.message == text && opened.seal == seal);
    }
});
