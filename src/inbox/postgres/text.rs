//! Makes text storable: PostgreSQL knows every character but U+0000. Touches no message, which is stored as bytes.

use std::borrow::Cow;

use crate::inbox::Outcome;
use crate::inbox::RecordChange;
use crate::inbox::Subject;

/// As what U+0000 is stored, in ids, names and errors; nobody's id or name has it.
const REPLACEMENT: &str = "\u{fffd}";

pub(super) fn clean_subject(subject: &mut Subject) {
    match subject {
        Subject::Nobody | Subject::New(None) => {}
        Subject::Known(id) | Subject::New(Some(id)) => clean(id),
        Subject::Record(change) => clean_change(change),
    }
}

pub(super) fn clean_change(change: &mut RecordChange) {
    let texts = [&mut change.id, &mut change.assigned_id, &mut change.name];
    texts.into_iter().flatten().for_each(clean);
}

pub(super) fn clean_outcome(outcome: &mut Outcome) {
    match outcome {
        Outcome::Retry { error, .. } | Outcome::Dead { error } => clean(error),
        Outcome::Done | Outcome::Released => {}
    }
}

pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', REPLACEMENT))
    } else {
        Cow::Borrowed(text)
    }
}

fn clean(text: &mut String) {
    if let Cow::Owned(cleaned) = storable(text) {
        *text = cleaned;
    }
}
