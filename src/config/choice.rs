//! The words that stand for each choice, in the order in which they are explained. Decides no defaults.

use crate::config::CheckUrlReply;
use crate::config::CipherSetting;
use crate::config::DetailsBy;
use crate::config::EnvelopeSetting;
use crate::config::IdaasAuth;
use crate::config::IvSetting;
use crate::config::LogFormat;
use crate::config::Mode;
use crate::config::OnDuplicate;
use crate::config::OnUnknownEvent;
use crate::config::SignatureAlgorithm;

macro_rules! words {
    ($($choice:ident { $($variant:ident $word:literal)+ })+) => {
        $(impl $choice {
            pub(super) const WORDS: &[(&str, Self)] = &[$(($word, Self::$variant)),+];

            /// As written in the settings.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        })+
    };
}

words! {
    LogFormat { Auto "auto" Json "json" Text "text" }
    IdaasAuth { Basic "basic" Form "form" }
    SignatureAlgorithm { Auto "auto" HmacSha256 "hmac-sha256" HmacSha1 "hmac-sha1" }
    CipherSetting { Auto "auto" AesGcm "aes-gcm" AesEcb "aes-ecb" AesCbc "aes-cbc" }
    IvSetting {
        Auto "auto"
        Prefix12 "prefix12"
        Prefix16 "prefix16"
        Suffix12 "suffix12"
        Zero12 "zero12"
        Zero16 "zero16"
        Key12 "key12"
        Key16 "key16"
    }
    EnvelopeSetting { Auto "auto" Delimited "delimited" Json "json" Bare "bare" }
    OnDuplicate { Reject "reject" Answer "answer" }
    OnUnknownEvent { Accept "accept" Reject "reject" }
    CheckUrlReply { Echo "echo" Success "success" }
    Mode { Queued "queued" Inline "inline" }
    DetailsBy { Id "id" Username "username" }
}
