//! Runs a program for each event, the document on its stdin. Uses no shell, and leaves nothing running behind.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use rustix::process::kill_process_group;
use rustix::process::waitid;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;
use tokio::signal::unix;

use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Reply;
use crate::event::Document;
use crate::handlers::HandlersError;
use crate::handlers::reply::LARGEST_ANSWER;
use crate::handlers::reply::reply;

/// `EX_NOUSER` of sysexits.h: how a command says that the record does not exist.
const MISSING: i32 = 67;

/// After the program's end, for what is still in the pipe. Whoever holds the pipe open for longer is not waited for.
const GRACE: Duration = Duration::from_millis(200);

pub(super) struct CommandHandler {
    program: String,
    arguments: Vec<String>,
    env: BTreeMap<String, SecretString>,
}

impl CommandHandler {
    pub(super) fn new(
        argv: &[String],
        env: &BTreeMap<String, SecretString>,
    ) -> Result<Self, HandlersError> {
        let (program, arguments) = argv.split_first().ok_or(HandlersError::Program)?;
        Ok(Self { program: program.clone(), arguments: arguments.to_vec(), env: env.clone() })
    }

    /// Returns the beginning of what the program wrote. Reasons say how it ended, never what it wrote.
    async fn run(&self, document: &[u8]) -> Result<Vec<u8>, HandlerError> {
        let (status, output) = self.attempt(document).await.map_err(|error| {
            HandlerError::retry(format!("{} cannot be run: {error}", self.program))
        })?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(output),
            (Some(MISSING), _) => Err(HandlerError::Missing {
                reason: format!("exit status {MISSING}").into(),
                after: None,
            }),
            (Some(code), _) => Err(HandlerError::retry(format!("exit status {code}"))),
            (None, Some(signal)) => Err(HandlerError::retry(format!("killed by signal {signal}"))),
            (None, None) => Err(HandlerError::retry("ended in an unknown way")),
        }
    }

    async fn attempt(&self, document: &[u8]) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut process = Process::start(self.command())?;
        let mut output = Vec::new();
        process.talk(document, &mut output).await?;
        Ok((process.end().await?, output))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value.expose_secret())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It may hold people's data, so there is no place where it could be shown.
            .stderr(Stdio::null());
        command
    }
}

#[async_trait]
impl Handler for CommandHandler {
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError> {
        let output = self.run(document.to_json().as_bytes()).await?;
        Ok(reply(&output))
    }
}

/// A program that leads a process group of its own. The group is killed when this is dropped, wherever the
/// attempt stands: all its members at once, so none can start another in between.
struct Process {
    child: Child,
    id: Pid,
    exits: unix::Signal,
}

impl Process {
    fn start(mut command: Command) -> io::Result<Self> {
        // Listens before there is anything to hear; a service that was started deaf to it hears it from now on.
        let exits = unix::signal(unix::SignalKind::child())?;
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = child.id().and_then(|it| Pid::from_raw(it.try_into().ok()?));
        Ok(Self { child, id: id.ok_or(io::ErrorKind::NotFound)?, exits })
    }

    /// Hands over the document and takes in the answer, until the program has ended.
    async fn talk(&mut self, document: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let (Some(stdin), Some(stdout)) = (self.child.stdin.take(), self.child.stdout.take())
        else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut pipes =
            pin!(async { tokio::try_join!(feed(stdin, document), collect(stdout, output)) });
        tokio::select! {
            done = &mut pipes => {
                done?;
                self.exited().await?;
            }
            exited = self.exited() => {
                exited?;
                if let Ok(done) = tokio::time::timeout(GRACE, &mut pipes).await {
                    done?;
                }
            }
        }
        Ok(())
    }

    /// Until the program has ended, which leaves it to be waited for: as long as that has not been done, its
    /// id, which is also the group's, is given to no one else, and the group can safely be killed by it.
    async fn exited(&mut self) -> io::Result<()> {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(self.id), peek)?.is_none() {
            self.exits.recv().await.ok_or(io::ErrorKind::Interrupted)?;
        }
        Ok(())
    }

    /// Kills what the program has left behind.
    async fn end(mut self) -> io::Result<ExitStatus> {
        self.kill_group();
        self.child.wait().await
    }

    fn kill_group(&self) {
        // Not SIGTERM: it can be ignored, and nobody is left to look whether it was.
        if let Err(error) = kill_process_group(self.id, Signal::KILL) {
            tracing::warn!(%error, "a command cannot be killed");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it has been waited for, the id may be a stranger's.
        if self.child.id().is_some() {
            self.kill_group();
        }
    }
}

/// A program need not read the document.
async fn feed(mut stdin: ChildStdin, document: &[u8]) -> io::Result<()> {
    match stdin.write_all(document).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Reads to the end, so that the program is not held up, and keeps the beginning, also when dropped.
async fn collect(mut stdout: ChildStdout, output: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = vec![0; 8 * 1024];
    loop {
        let read = stdout.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        let room = LARGEST_ANSWER.saturating_sub(output.len());
        output.extend(chunk.iter().take(read.min(room)));
    }
}

#[cfg(test)]
mod tests;
