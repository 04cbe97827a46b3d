//! `send`: plays IDaaS towards a running receiver. Stores nothing and decides nothing that IDaaS would not.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's result goes to stdout, its diagnosis to stderr"
)]

use std::io;
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::anyhow;
use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use hyper::HeaderMap;
use hyper::Method;
use hyper::header::AUTHORIZATION;
use hyper::header::CONTENT_TYPE;
use hyper::header::HeaderValue;
use secrecy::ExposeSecret;

use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::Endpoint;
use crate::event::Action;
use crate::event::Dialect;
use crate::event::routed;
use crate::simulator;
use crate::simulator::Answer;
use crate::simulator::AnswerError;
use crate::simulator::Simulator;

mod load;
mod target;

pub(crate) use target::Target;
pub(crate) use target::reachable;

/// Longer than any `reply_timeout` that makes sense.
const TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_SHOWN: usize = 2_000;

/// Plays IDaaS: sends one event, or many, to a running receiver.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bamboohook send CHECK_URL
  bamboohook send CREATE_USER --data '{\"username\":\"zhangsan\",\"name\":\"张三\"}'
  bamboohook send USER_CREATE --endpoint shop --url https://hooks.example.com/shop
  bamboohook send CREATE_USER --count 10000 --concurrency 64

Exit code 0 only if IDaaS would call every answer a success.")]
pub(crate) struct SendArgs {
    /// The event's name as IDaaS lists it
    event: String,
    /// The endpoint whose keys and settings are used
    #[arg(long, value_name = "NAME", default_value = "default")]
    endpoint: String,
    /// Where to post to [default: the configured listener and the endpoint's path]
    #[arg(long)]
    url: Option<String>,
    /// The message: TEXT, @FILE, or - for stdin [default: a realistic sample for the event]
    #[arg(long, value_name = "TEXT|@FILE|-", allow_hyphen_values = true)]
    data: Option<String>,
    /// [default: the endpoint's, else by the event's name]
    #[arg(long, value_parser = PossibleValuesParser::new(["eiam", "ciam"]).try_map(|it| it.parse::<Dialect>()))]
    dialect: Option<Dialect>,
    /// How many events to send, each with its own nonce and from 1000 different subjects
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// At most this many a second
    #[arg(long, value_name = "N", requires = "count", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Keep-alive connections to send over [default: 32]
    #[arg(long, value_name = "N", requires = "count", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: Option<u32>,
}

pub(crate) async fn run(args: SendArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let endpoint = config.endpoints.get(&args.endpoint).ok_or_else(|| {
        let names: Vec<&str> = config.endpoints.keys().map(String::as_str).collect();
        anyhow!("there is no endpoint {:?}; configured are: {}", args.endpoint, names.join(", "))
    })?;
    let named = simulator::dialect_of(&args.event);
    let dialect = args.dialect.or(endpoint.dialect).or(named).unwrap_or(Dialect::Eiam);
    let simulator = Simulator::new(endpoint, dialect)
        .with_context(|| format!("endpoint {:?} cannot be spoken to", args.endpoint))?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => configured_url(config, endpoint)?,
    };
    let target = Target::new(&url, TIMEOUT)?;
    let message = args.data.as_deref().map(message).transpose()?;
    if args.count > 1 || args.rate.is_some() || args.concurrency.is_some() {
        let load = load::Load {
            event: args.event,
            message,
            count: args.count,
            rate: args.rate,
            concurrency: args.concurrency.unwrap_or(32),
        };
        return load::run(load, simulator, target).await;
    }
    let message = match message {
        Some(message) => message,
        // Always the same text would not show that the receiver reads it.
        None if routed(&args.event) == "CHECK_URL" && dialect == Dialect::Eiam => {
            simulator::nonce()?
        }
        None => simulator::sample_message(dialect, &args.event, 1),
    };
    send_one(&args.event, &message, &simulator, target, &args.endpoint).await
}

async fn send_one(
    event: &str,
    message: &str,
    simulator: &Simulator,
    target: Target,
    endpoint: &str,
) -> anyhow::Result<ExitCode> {
    let callback = simulator.callback(event, message, SystemClock.now())?;
    let headers = headers(simulator)?;
    let target = Arc::new(target);
    let posted = target.lane().exchange(Method::POST, &headers, callback.body().into()).await;
    let (status, body) = posted.map_err(|error| explained(error, target.url()))?;
    println!("HTTP status: {status}");
    let read = simulator.read_answer(status, &body);
    match &read {
        Ok(Answer { data: Some(data) }) if data.is_empty() => println!("answer: empty data"),
        Ok(Answer { data: Some(data) }) => println!("answer: {}", printable(data)),
        Ok(Answer { data: None }) => println!("answer: none needed, CIAM goes by the status alone"),
        Err(_) => println!("answer: {}", printable(&String::from_utf8_lossy(&body))),
    }
    let action = Action::of(simulator.dialect(), &routed(event));
    match read {
        Ok(Answer { data }) => {
            let returned = data.is_none_or(|data| data == message || data == "success");
            if action == Action::CheckUrl && !returned {
                eprintln!("not a success: the answer to CHECK_URL is not the text that was sent");
                return Ok(ExitCode::FAILURE);
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("not a success: {}", printable(&error.to_string()));
            eprintln!("{}", cure(&error, endpoint));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn headers(simulator: &Simulator) -> anyhow::Result<HeaderMap> {
    let mut authorization = HeaderValue::from_str(simulator.authorization().expose_secret())
        .map_err(|_value| anyhow!("the token holds characters that no HTTP header may have"))?;
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(simulator::CONTENT_TYPE));
    Ok(headers)
}

fn configured_url(config: &Config, endpoint: &Endpoint) -> anyhow::Result<String> {
    let listener = reachable(config.server.listen);
    anyhow::ensure!(
        listener.port() != 0,
        "server.listen leaves the port open; say where with --url"
    );
    Ok(format!("http://{listener}{}", endpoint.path))
}

/// The text of `--data`. One line end at the end of a file belongs to the file, not to the message.
fn message(data: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if data == "-" {
        io::stdin().read_to_string(&mut text).context("stdin is not text")?;
    } else if let Some(file) = data.strip_prefix('@') {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    } else {
        return Ok(data.to_owned());
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// A terminal must not obey what a receiver answers.
fn printable(text: &str) -> String {
    let shown = |it: char| if it.is_control() { '\u{fffd}' } else { it };
    text.chars().take(LONGEST_SHOWN).map(shown).collect()
}

fn explained(error: anyhow::Error, url: &str) -> anyhow::Error {
    let refused = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|it| it.kind() == io::ErrorKind::ConnectionRefused)
    };
    if error.chain().any(refused) {
        return error.context(format!("nothing answers; is `bamboohook serve` running at {url}?"));
    }
    error.context(format!("no answer from {url}"))
}

/// What to look at, in words of the settings.
fn cure(error: &AnswerError, endpoint: &str) -> String {
    let (status, message) = match error {
        AnswerError::Refused { status, message } => {
            (*status, message.as_deref().unwrap_or_default())
        }
        AnswerError::NotAnAnswer => {
            return "is this URL a callback of an EIAM application?".to_owned();
        }
        AnswerError::CodeDisagrees { .. } => {
            return "the receiver has to answer with the same HTTP status and code".to_owned();
        }
        AnswerError::Unreadable => {
            return format!(
                "compare encrypt_key, cipher, iv and envelope of [endpoints.{endpoint}] with the receiver's"
            );
        }
    };
    match status {
        400 => format!(
            "if the message is as it should be, compare encrypt_key, cipher, iv and envelope of [endpoints.{endpoint}] \
             with the receiver's"
        ),
        401 if message.contains("timestamp") => {
            "compare the clock of this machine with the receiver's".to_owned()
        }
        401 => format!(
            "compare token, sign_key, signature_algorithm and signature_message of [endpoints.{endpoint}] with the \
             receiver's"
        ),
        404 => "no endpoint has this path, or an inline handler says that the record is missing"
            .to_owned(),
        408 => "the receiver did not get the request in time; see its read_timeout".to_owned(),
        409 => "the receiver has had this very request already".to_owned(),
        413 => "the message is too large; see the receiver's max_body".to_owned(),
        500 => "an inline handler failed or timed out; see the receiver's log".to_owned(),
        503 => {
            "the receiver's store is unreachable or saturated; see its log and /readyz".to_owned()
        }
        _ => "is this URL the callback of a running `bamboohook serve`?".to_owned(),
    }
}
