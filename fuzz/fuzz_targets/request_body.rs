//! Any bytes as a request body: read, judged, taken apart as a capture. Must end without a panic.
#![no_main]

use bamboohook::event::Dialect;
use bamboohook::event::Message;
use bamboohook::protocol::Request;
use bamboohook::simulator::CaptureKeys;
use bamboohook::simulator::identify;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for dialect in [None, Some(Dialect::Eiam), Some(Dialect::Ciam)] {
        let Ok(request) = Request::parse(body, dialect) else { continue };
        assert!(!request.nonce.contains('&') && !request.event.contains('&'));
        let message = Message::new(request.data.as_str());
        if let Ok(Some(attributes)) = message.attributes() {
            attributes.iter().for_each(|(name, _)| drop(attributes.name(name)));
        }
    }
    drop(identify(body, &CaptureKeys::default()));
});
