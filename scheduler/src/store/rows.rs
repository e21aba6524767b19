//! What the two databases share: how our types are written into columns, and the query of a list.

use std::time::SystemTime;

use bytes::Bytes;
use proto::{
    codec,
    id::{Digest, RunId, Shard},
    time::Timestamp,
    view::Summary,
};

use super::{Error, Filter, Head, OutboxKind, OutboxRow, Source};

/// The columns of a [`HeadRow`], in its order.
pub const HEAD_COLUMNS: &str = "id, workflow, definition, content, labels, status, error, started_at, finished_at";

/// The condition of the index `runs_live`, word for word, since SQLite uses it only then.
pub const LIVE: &str = "status NOT IN ('succeeded', 'failed', 'canceled')";

/// A row of `runs` as it is stored.
pub struct HeadRow {
    pub id: String,
    pub workflow: String,
    pub definition: Vec<u8>,
    pub content: Vec<u8>,
    pub labels: String,
    pub status: String,
    pub error: Option<String>,
    pub started_at: i64,
    pub finished_at: Option<i64>,
}

impl HeadRow {
    /// The run.
    pub fn read(self) -> Result<Head, Error> {
        let summary = Summary {
            id: self.id.parse().map_err(damaged)?,
            workflow: self.workflow.parse().map_err(damaged)?,
            status: self.status.parse().map_err(damaged)?,
            labels: codec::decode(self.labels.as_bytes()).map_err(damaged)?,
            error: self.error.map(|text| codec::decode(text.as_bytes())).transpose().map_err(damaged)?,
            started_at: Timestamp::from_millis(self.started_at),
            finished_at: self.finished_at.map(Timestamp::from_millis),
        };
        Ok(Head { summary, definition: digest(&self.definition)?, content: digest(&self.content)? })
    }
}

/// A row of `outbox` as it is stored.
pub fn outbox_row(key: String, run: &str, shard: Shard, kind: &str, body: Option<Vec<u8>>) -> Result<OutboxRow, Error> {
    let kind = OutboxKind::ALL.into_iter().find(|known| known.as_str() == kind);
    let kind = kind.ok_or_else(|| damaged(format!("outbox row {key} is of no known kind")))?;
    Ok(OutboxRow { key, run: run_id(run)?, shard, kind, body: body.map(Bytes::from) })
}

/// A stored run id.
pub fn run_id(text: &str) -> Result<RunId, Error> {
    text.parse().map_err(damaged)
}

/// A stored digest.
pub fn digest(bytes: &[u8]) -> Result<Digest, Error> {
    let bytes = bytes.try_into().map_err(|_| damaged(format!("a digest has {} bytes", bytes.len())))?;
    Ok(Digest::from_bytes(bytes))
}

/// What is stored is not what we wrote.
pub fn damaged(what: impl Into<Source>) -> Error {
    Error::Broken(what.into())
}

/// Facts by position; a hole means that some were lost.
pub fn in_order(id: &RunId, facts: impl Iterator<Item = (i64, Vec<u8>)>) -> Result<Vec<Bytes>, Error> {
    let mut next = None;
    facts
        .map(|(seq, fact)| {
            if next.is_some_and(|next| next != seq) {
                return Err(damaged(format!("run {id} has no fact before position {seq}")));
            }
            next = Some(seq + 1);
            Ok(Bytes::from(fact))
        })
        .collect()
}

/// The time by this machine's clock, for what people read. Leases on Postgres go by the server's.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A label as the JSON of its key and value: texts of people may hold what a database refuses, such as a zero.
pub fn label_text(label: (&String, &String)) -> String {
    text(&label)
}

/// Something of ours as JSON.
pub fn text<T: serde::Serialize>(value: &T) -> String {
    String::from_utf8(codec::encode(value)).expect("JSON is UTF-8")
}

/// A parameter of a query.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// Text.
    Text(String),
    /// A number.
    Integer(i64),
}

/// The query of a list, whose parameters `$1`, `$2`… stand in it once each and in order, as both databases take them.
pub fn list_query(filter: &Filter) -> (String, Vec<Parameter>) {
    let mut parameters = Vec::new();
    let mut conditions = Vec::new();
    let mut condition = |sql: &str, parameter: Parameter| {
        parameters.push(parameter);
        conditions.push(sql.replace('?', &format!("${}", parameters.len())));
    };
    if let Some(status) = filter.status {
        condition("status = ?", Parameter::Text(status.as_str().to_owned()));
    }
    if let Some(workflow) = &filter.workflow {
        condition("workflow = ?", Parameter::Text(workflow.as_str().to_owned()));
    }
    if let Some(since) = filter.since {
        condition("started_at >= ?", Parameter::Integer(since.as_millis()));
    }
    for label in &filter.labels {
        condition(
            "EXISTS (SELECT 1 FROM run_labels WHERE label = ? AND run = runs.id)",
            Parameter::Text(label_text(label)),
        );
    }
    let wanted = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let limit = filter.limit.min(Filter::LIMIT_MAX);
    let sql = format!("SELECT {HEAD_COLUMNS} FROM runs{wanted} ORDER BY started_at DESC, id DESC LIMIT {limit}");
    (sql, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_in_order() {
        let filter = Filter {
            workflow: Some("w".parse().expect("valid")),
            since: Some(Timestamp::from_millis(7)),
            labels: [("a".to_owned(), "b\0".to_owned())].into(),
            limit: u32::MAX,
            ..Filter::default()
        };
        let (sql, parameters) = list_query(&filter);
        assert!(sql.contains("WHERE workflow = $1 AND started_at >= $2 AND EXISTS"), "{sql}");
        assert!(sql.contains("label = $3") && sql.ends_with("LIMIT 10000"), "{sql}");
        assert!(matches!(&parameters[2], Parameter::Text(label) if label == r#"["a","b\u0000"]"#));
    }

    #[test]
    fn a_hole_in_the_facts_is_seen() {
        let run = RunId::fresh();
        assert_eq!(in_order(&run, [(3, vec![1]), (4, vec![2])].into_iter()).expect("whole").len(), 2);
        assert!(in_order(&run, [(0, vec![1]), (2, vec![2])].into_iter()).is_err());
    }
}
