//! The reader and the editor as operators use them: off the threads that must not block. Decides nothing.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use jiff::Timestamp;
use uuid::Uuid;

use crate::inbox::EventFilter;
use crate::inbox::EventSummary;
use crate::inbox::InboxError;
use crate::inbox::OpenError;
use crate::inbox::Record;
use crate::inbox::RecordQuery;
use crate::inbox::sqlite::SqliteEditor;
use crate::inbox::sqlite::SqliteReader;
use crate::inbox::sqlite::file;

/// What [`Operator`](crate::inbox::Operator) does on one SQLite file, which a service may own meanwhile.
pub struct SqliteOperator {
    reader: Arc<Mutex<SqliteReader>>,
    path: PathBuf,
}

impl SqliteOperator {
    /// Opens the store to look; to write only once something is to be changed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let reader = Arc::new(Mutex::new(SqliteReader::open(path)?));
        Ok(Self { reader, path: path.to_owned() })
    }

    pub(crate) async fn events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<EventSummary>, InboxError> {
        let filter = filter.clone();
        self.look(move |reader| reader.events(&filter, before, most)).await
    }

    pub(crate) async fn event(&self, id: Uuid) -> Result<Option<EventSummary>, InboxError> {
        self.look(move |reader| reader.event(id)).await
    }

    pub(crate) async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>, InboxError> {
        let query = query.clone();
        self.look(move |reader| reader.records(&query)).await
    }

    pub(crate) async fn count(&self, filter: &EventFilter) -> Result<usize, InboxError> {
        let filter = filter.clone();
        self.edit(move |editor| editor.count(&filter)).await
    }

    pub(crate) async fn retry(
        &self,
        filter: &EventFilter,
        now: Timestamp,
    ) -> Result<usize, InboxError> {
        let filter = filter.clone();
        self.edit(move |editor| editor.retry(&filter, now)).await
    }

    pub(crate) async fn discard(
        &self,
        filter: &EventFilter,
        now: Timestamp,
    ) -> Result<usize, InboxError> {
        let filter = filter.clone();
        self.edit(move |editor| editor.discard(&filter, now)).await
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&SqliteReader) -> Result<T, InboxError> + Send + 'static,
    ) -> Result<T, InboxError> {
        let reader = Arc::clone(&self.reader);
        let look = move || look(&*reader.lock().map_err(|_poisoned| InboxError::Failed)?);
        tokio::task::spawn_blocking(look).await.unwrap_or(Err(InboxError::Failed))
    }

    async fn edit<T: Send + 'static>(
        &self,
        edit: impl FnOnce(&mut SqliteEditor) -> Result<T, InboxError> + Send + 'static,
    ) -> Result<T, InboxError> {
        let path = self.path.clone();
        let edit =
            move || edit(&mut SqliteEditor::open(&path).map_err(|error| file::once_open(&error))?);
        tokio::task::spawn_blocking(edit).await.unwrap_or(Err(InboxError::Failed))
    }
}
