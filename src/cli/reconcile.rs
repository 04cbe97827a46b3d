//! `reconcile`: brings the directory level with IDaaS, or shows what that would take. Decides about no record.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use crate::app;
use crate::cli::print;
use crate::cli::progress_bar;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::event::RecordKind;
use crate::event::printable;
use crate::reconcile::Counts;
use crate::reconcile::Difference;
use crate::reconcile::Progress;
use crate::reconcile::Reconciler;
use crate::reconcile::Step;
use crate::reconcile::Summary;
use crate::reconcile::singular;

#[derive(Args)]
#[command(after_help = "Example:\n  bamboohook reconcile --dry-run")]
pub(super) struct ReconcileArgs {
    /// Print the differences, one a line: + is created, ~ updated, - deleted; change nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line, the last one with the counts
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &ReconcileArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let (reconciler, inbox) = app::reconciler_beside(config, Arc::new(SystemClock)).await?;
    let result = reconcile(args, &reconciler).await;
    inbox.close().await;
    result
}

async fn reconcile(args: &ReconcileArgs, reconciler: &Reconciler) -> anyhow::Result<ExitCode> {
    let bar = progress_bar()?;
    let watch = |progress| show(&bar, progress);
    if !args.dry_run {
        let result = reconciler.run(&watch).await;
        bar.finish_and_clear();
        let summary = result?;
        return print(async |out| print_summary(args, summary, out)).await;
    }
    let result = reconciler.compare(&watch).await;
    bar.finish_and_clear();
    let comparison = result?;
    let printed = print(async |out| {
        for difference in comparison.differences() {
            print_difference(args, difference, out)?;
        }
        print_summary(args, comparison.summary(), out)
    })
    .await?;
    comparison.check()?;
    Ok(printed)
}

fn print_difference(
    args: &ReconcileArgs,
    difference: &Difference,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Difference { step, kind, endpoint, id, name, .. } = difference;
    if args.json {
        let line = json!({
            "change": step.as_str(),
            "kind": singular(*kind),
            "endpoint": endpoint.as_ref(),
            "id": id,
            "name": name,
        });
        writeln!(out, "{line}")?;
    } else {
        let sign = match step {
            Step::Create => '+',
            Step::Update => '~',
            Step::Delete => '-',
        };
        let (kind, id) = (singular(*kind), printable(id));
        let name = name.as_deref().map_or_else(|| "-".to_owned(), printable);
        writeln!(out, "{sign} {kind:12}  {endpoint:10}  {id:36}  {name}")?;
    }
    Ok(())
}

fn print_summary(
    args: &ReconcileArgs,
    summary: Summary,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Summary { users, organizations } = summary;
    if args.json {
        let object = |it: Counts| json!({ "created": it.created, "updated": it.updated, "deleted": it.deleted });
        let line = json!({
            "dry_run": args.dry_run,
            "users": object(users),
            "organizations": object(organizations),
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    for (kind, counts) in [("organizations", organizations), ("users", users)] {
        let Counts { created, updated, deleted } = counts;
        writeln!(out, "{kind}: {created} created, {updated} updated, {deleted} deleted")?;
    }
    Ok(())
}

fn show(bar: &ProgressBar, progress: Progress) {
    let (what, done, total) = match progress {
        Progress::Walking { kind: RecordKind::User, done, total } => ("reading users", done, total),
        Progress::Walking { kind: RecordKind::Organization, done, total } => {
            ("reading organizations", done, total)
        }
        Progress::Storing { done, total } => ("storing differences", done, total),
    };
    bar.set_message(what);
    bar.set_length(total);
    bar.set_position(done);
}
