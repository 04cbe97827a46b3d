//! `identify`: turns one captured request into the settings of its endpoint. Never prints a key.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's result goes to stdout, its diagnosis to stderr"
)]

use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::anyhow;
use clap::Args;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::simulator;
use crate::simulator::Capture;
use crate::simulator::CaptureKeys;

/// Works out from a captured request how the tenant signs and encrypts.
///
/// Prints the lines of `[endpoints.NAME]` that take such requests. A kind of key that is not given is
/// taken as not in use.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bamboohook identify captured.json --sign-key-file sign.key --encrypt-key-file encrypt.key
  bamboohook identify - --endpoint default < captured.json

A key on the command line can be seen by other users of the machine; files cannot.")]
pub(crate) struct IdentifyArgs {
    /// The body as received, or the whole HTTP request; - is stdin
    file: PathBuf,
    /// The signing key, as typed into the console
    #[arg(long, value_name = "TEXT", conflicts_with = "sign_key_file")]
    sign_key: Option<SecretString>,
    /// A file with signing keys, one a line
    #[arg(long, value_name = "FILE")]
    sign_key_file: Option<PathBuf>,
    /// The encryption key, as typed into the console
    #[arg(long, value_name = "TEXT", conflicts_with = "encrypt_key_file")]
    encrypt_key: Option<SecretString>,
    /// A file with encryption keys, one a line
    #[arg(long, value_name = "FILE")]
    encrypt_key_file: Option<PathBuf>,
    /// The endpoint to name in the result, and whose keys are used where none are given here
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Print the decrypted message too
    #[arg(long)]
    show_message: bool,
}

impl IdentifyArgs {
    /// Whether the keys are those of a configured endpoint.
    pub(crate) fn needs_config(&self) -> bool {
        let given = self.sign_key.is_some()
            || self.sign_key_file.is_some()
            || self.encrypt_key.is_some()
            || self.encrypt_key_file.is_some();
        self.endpoint.is_some() && !given
    }
}

#[expect(clippy::unused_async, reason = "all commands are called alike")]
pub(crate) async fn run(args: IdentifyArgs, config: Option<&Config>) -> anyhow::Result<ExitCode> {
    let capture = read(&args.file)?;
    let keys = keys(&args, config)?;
    let name = args.endpoint.as_deref().unwrap_or("default");
    let capture = match simulator::identify(&capture, &keys) {
        Ok(capture) => capture,
        Err(error) => {
            eprintln!("failed first: reading the request");
            eprintln!("reading: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let settings = capture.settings(name);
    match &settings {
        Some(settings) => {
            print!("{settings}");
            remark(&capture, &keys);
        }
        None => report(&capture),
    }
    if args.show_message
        && let Some(message) = &capture.message
    {
        println!("# message:\n{}", message.as_str());
    }
    Ok(if settings.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which of several keys fits, and what may not fit the next request.
fn remark(capture: &Capture, keys: &CaptureKeys) {
    if let (Ok(Some(signing)), 2..) = (&capture.signing, keys.sign.len()) {
        eprintln!("signing key {} of {} fits", signing.key + 1, keys.sign.len());
    }
    if let (Ok(Some(sealing)), 2..) = (&capture.sealing, keys.encrypt.len()) {
        eprintln!("encryption key {} of {} fits", sealing.key + 1, keys.encrypt.len());
    }
    if matches!(&capture.signing, Ok(Some(signing)) if signing.may_be_sorted) {
        eprintln!(
            "the fields stand in the order of their values: if the tenant sorts them, no setting says so; \
             try another request"
        );
    }
    if matches!(&capture.sealing, Ok(Some(sealing)) if sealing.ambiguous) {
        eprintln!(
            "data is one block long, where aes-ecb and aes-cbc with iv = \"zero16\" are the same; \
             try a request with a longer message"
        );
    }
}

/// One line a step: what was found, or what was tried.
fn report(capture: &Capture) {
    let (signature, signature_fails) = match &capture.signing {
        Ok(None) => ("the request carries none".to_owned(), false),
        Ok(Some(signing)) if signing.over_message => {
            let text = &signing.text;
            (
                format!(
                    "it is {text}, with the decrypted message as data; no setting of bamboohook says this"
                ),
                true,
            )
        }
        Ok(Some(signing)) if signing.text.setting().is_none() => {
            (format!("it is {}; no setting of bamboohook says this", signing.text), true)
        }
        Ok(Some(signing)) => {
            (format!("{} fits: {}", signing.algorithm.as_str(), signing.text), false)
        }
        Err(fault) => (fault.to_string(), true),
    };
    let data = match &capture.sealing {
        Ok(None) => "not encrypted".to_owned(),
        Ok(Some(sealing)) => format!(
            "{}{} with envelope {} fits",
            sealing.layout.cipher(),
            sealing.layout.iv().map(|iv| format!(" {iv}")).unwrap_or_default(),
            sealing.envelope.as_str(),
        ),
        Err(fault) => fault.to_string(),
    };
    eprintln!("failed first: {}", if signature_fails { "the signature" } else { "decryption" });
    eprintln!("reading: a well-formed request of dialect {}", capture.dialect);
    eprintln!("signature: {signature}");
    eprintln!("decryption: {data}");
}

fn keys(args: &IdentifyArgs, config: Option<&Config>) -> anyhow::Result<CaptureKeys> {
    if args.needs_config() {
        let endpoint = args.endpoint.as_deref().and_then(|name| config?.endpoints.get(name));
        let endpoint = endpoint.ok_or_else(|| {
            anyhow!(
                "there is no endpoint {:?} in the settings; give the keys instead",
                args.endpoint
            )
        })?;
        return Ok(CaptureKeys {
            sign: endpoint.sign_key.clone(),
            encrypt: endpoint.encrypt_key.clone(),
        });
    }
    Ok(CaptureKeys {
        sign: given(args.sign_key.as_ref(), args.sign_key_file.as_deref())?,
        encrypt: given(args.encrypt_key.as_ref(), args.encrypt_key_file.as_deref())?,
    })
}

fn given(key: Option<&SecretString>, file: Option<&Path>) -> anyhow::Result<Vec<SecretString>> {
    let keys: Vec<SecretString> = match (key, file) {
        (Some(key), _) => vec![key.clone()],
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file);
            let text =
                Zeroizing::new(text.with_context(|| format!("cannot read {}", file.display()))?);
            let keys: Vec<_> = text.lines().map(SecretString::from).collect();
            anyhow::ensure!(!keys.is_empty(), "{} holds no key", file.display());
            keys
        }
        (None, None) => Vec::new(),
    };
    anyhow::ensure!(keys.iter().all(|key| !key.expose_secret().is_empty()), "a key is empty");
    Ok(keys)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().read_to_end(&mut bytes).context("cannot read stdin")?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
