//! Reading and changing records.

use std::collections::HashSet;
use std::sync::Arc;

use deadpool_postgres::{GenericClient, Object, Transaction};
use pgvector::Vector;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Json, ToSql, Type};

use super::Shared;
use super::connection::{Call, Failure, Values, borrowed};
use crate::error::{Error, Result};
use crate::gallery::records::{
    GalleryCount, Metadata, NewSubject, NewTemplate, Page, Subject, SubjectFilter, SubjectId, Template, TemplateId, now,
};
use crate::stage::{Embedding, Threshold};

const COPY_SUBJECTS: &str = "COPY face.subject (gallery_id, id, name, metadata) FROM STDIN (FORMAT binary)";
const COPY_TEMPLATES: &str = "COPY face.template (gallery_id, id, subject_id, quality, source, enrolled_at, embedding) \
                              FROM STDIN (FORMAT binary)";
/// Gives ids, and holds the gallery until the transaction ends.
const TAKE_IDS: &str = "UPDATE face.gallery SET next_subject = next_subject + $2, next_template = next_template + $3, \
                        subjects = subjects + $2, templates = templates + $3 \
                        WHERE id = $1 RETURNING next_subject - $2, next_template - $3";
const LOCK: &str = "SELECT 1 FROM face.gallery WHERE id = $1 FOR NO KEY UPDATE";
const COUNT_DOWN: &str = "UPDATE face.gallery SET subjects = subjects - $2, templates = templates - $3 WHERE id = $1";

/// Why an enrolment failed.
enum Refusal {
    /// In a COPY. The connection is not to be used any more: the client sends one message too many after a COPY that the
    /// server has refused, and takes the answer for that of the next statement
    /// (<https://github.com/rust-postgres/rust-postgres/issues/789>).
    Copy(Failure),
    /// Anywhere else.
    Other(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Closes a connection, in place of giving it back to the pool.
fn discard(client: Object) {
    drop(Object::take(client));
}

impl Shared {
    pub(super) async fn enroll(&self, call: Call, subjects: Vec<NewSubject>) -> Result<Vec<SubjectId>> {
        let names: Vec<String> = subjects.iter().map(|subject| subject.name.clone()).collect();
        let mut client = call.connect(&self.pool).await?;
        match self.enroll_with(&call, &mut client, subjects, &names).await {
            Ok(ids) => Ok(ids),
            Err(Refusal::Other(error)) => Err(error),
            Err(Refusal::Copy(failure)) => {
                discard(client);
                // A program that does not hold the gallery's row was faster.
                if failure.code() == Some(&SqlState::UNIQUE_VIOLATION) {
                    let client = call.connect(&self.pool).await?;
                    if let Some(name) = self.taken(&call, &client, &names).await? {
                        return Err(Error::NameTaken { gallery: call.gallery.to_string(), name });
                    }
                }
                Err(call.error(&failure))
            }
        }
    }

    async fn enroll_with(
        &self,
        call: &Call,
        client: &mut Object,
        subjects: Vec<NewSubject>,
        names: &[String],
    ) -> std::result::Result<Vec<SubjectId>, Refusal> {
        let templates = subjects.iter().map(|subject| subject.templates.len()).sum();
        let transaction = call.begin(client).await?;
        let (first_subject, mut next_template) = self.take_ids(call, &transaction, subjects.len(), templates).await?;
        if let Some(name) = self.taken(call, &transaction, names).await? {
            return Err(Error::NameTaken { gallery: call.gallery.to_string(), name }.into());
        }
        let (mut ids, mut subject_rows, mut template_rows) = (vec![], vec![], vec![]);
        for (id, subject) in (first_subject..).zip(subjects) {
            ids.push(SubjectId(id.cast_unsigned()));
            let row: Values =
                vec![Box::new(self.id), Box::new(id), Box::new(subject.name), Box::new(Json(subject.metadata))];
            subject_rows.push(row);
            for template in subject.templates {
                template_rows.push(self.template_row(next_template, id, template));
                next_template += 1;
            }
        }
        let types = [Type::INT8, Type::INT8, Type::TEXT, Type::JSONB];
        call.copy(&transaction, COPY_SUBJECTS, &types, &subject_rows).await.map_err(Refusal::Copy)?;
        self.copy_templates(call, &transaction, &template_rows).await?;
        call.commit(transaction).await?;
        Ok(ids)
    }

    pub(super) async fn add_templates(
        &self,
        call: Call,
        subject: SubjectId,
        templates: Vec<NewTemplate>,
    ) -> Result<Vec<TemplateId>> {
        let mut client = call.connect(&self.pool).await?;
        match self.add_templates_with(&call, &mut client, subject, templates).await {
            Ok(ids) => Ok(ids),
            Err(Refusal::Other(error)) => Err(error),
            Err(Refusal::Copy(failure)) => {
                discard(client);
                Err(call.error(&failure))
            }
        }
    }

    async fn add_templates_with(
        &self,
        call: &Call,
        client: &mut Object,
        subject: SubjectId,
        templates: Vec<NewTemplate>,
    ) -> std::result::Result<Vec<TemplateId>, Refusal> {
        let id = signed(call, subject)?;
        let transaction = call.begin(client).await?;
        let (_, first) = self.take_ids(call, &transaction, 0, templates.len()).await?;
        let exists = "SELECT 1 FROM face.subject WHERE gallery_id = $1 AND id = $2 FOR KEY SHARE";
        if call.rows(&transaction, exists, &[&self.id, &id]).await?.is_empty() {
            return Err(no_subject(call, subject).into());
        }
        let ids = (first..).take(templates.len()).map(|id| TemplateId(id.cast_unsigned())).collect();
        let row = |(template, new)| self.template_row(template, id, new);
        let rows: Vec<Values> = (first..).zip(templates).map(row).collect();
        self.copy_templates(call, &transaction, &rows).await?;
        call.commit(transaction).await?;
        Ok(ids)
    }

    /// The first new ids of subjects and templates.
    async fn take_ids(
        &self,
        call: &Call,
        transaction: &Transaction<'_>,
        subjects: usize,
        templates: usize,
    ) -> Result<(i64, i64)> {
        let rows = call.rows(transaction, TAKE_IDS, &[&self.id, &(subjects as i64), &(templates as i64)]).await?;
        let row = rows.first().ok_or_else(|| gone(call))?;
        Ok((call.get(row, 0)?, call.get(row, 1)?))
    }

    /// The first name that is enrolled already, or that stands before in the list.
    async fn taken(&self, call: &Call, client: &impl GenericClient, names: &[String]) -> Result<Option<String>> {
        let select = "SELECT name FROM face.subject WHERE gallery_id = $1 AND name = ANY($2)";
        let rows = call.rows(client, select, &[&self.id, &names]).await?;
        let mut seen: HashSet<String> = rows.iter().map(|row| call.get(row, 0)).collect::<Result<_>>()?;
        Ok(names.iter().find(|name| !seen.insert((*name).clone())).cloned())
    }

    fn template_row(&self, id: i64, subject: i64, template: NewTemplate) -> Values {
        let NewTemplate { embedding, quality, source, enrolled_at } = template;
        let enrolled_at = enrolled_at.unwrap_or_else(now).cast_signed();
        vec![
            Box::new(self.id),
            Box::new(id),
            Box::new(subject),
            Box::new(quality),
            Box::new(source),
            Box::new(enrolled_at),
            Box::new(Vector::from(embedding.into_vector())),
        ]
    }

    async fn copy_templates(
        &self,
        call: &Call,
        transaction: &Transaction<'_>,
        rows: &[Values],
    ) -> std::result::Result<(), Refusal> {
        // The type's number differs from database to database.
        let prepared = call.within(transaction.prepare_cached("SELECT embedding FROM face.template LIMIT 0")).await;
        let statement = prepared.map_err(|failure| call.error(&failure))?;
        let vector = statement.columns().first().map_or(Type::UNKNOWN, |column| column.type_().clone());
        let types = [Type::INT8, Type::INT8, Type::INT8, Type::FLOAT4, Type::TEXT, Type::INT8, vector];
        call.copy(transaction, COPY_TEMPLATES, &types, rows).await.map(|_| ()).map_err(Refusal::Copy)
    }

    pub(super) async fn rename(&self, call: Call, subject: SubjectId, name: String) -> Result<()> {
        let update = "UPDATE face.subject SET name = $3 WHERE gallery_id = $1 AND id = $2";
        match self.change_subject(&call, subject, update, &name).await? {
            Err(failure) if failure.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Err(Error::NameTaken { gallery: call.gallery.to_string(), name })
            }
            outcome => outcome.map_err(|failure| call.error(&failure)),
        }
    }

    pub(super) async fn set_metadata(&self, call: Call, subject: SubjectId, metadata: Metadata) -> Result<()> {
        let update = "UPDATE face.subject SET metadata = $3 WHERE gallery_id = $1 AND id = $2";
        let outcome = self.change_subject(&call, subject, update, &Json(metadata)).await?;
        outcome.map_err(|failure| call.error(&failure))
    }

    /// Changes a subject's record in its turn: no other change of the gallery runs at the same time.
    async fn change_subject(
        &self,
        call: &Call,
        subject: SubjectId,
        update: &str,
        value: &(dyn ToSql + Sync),
    ) -> Result<std::result::Result<(), Failure>> {
        let id = signed(call, subject)?;
        let mut client = call.connect(&self.pool).await?;
        let transaction = call.begin(&mut client).await?;
        call.rows(&transaction, LOCK, &[&self.id]).await?;
        match call.try_execute(&transaction, update, &[&self.id, &id, value]).await {
            Ok(0) => Err(no_subject(call, subject)),
            Ok(_) => call.commit(transaction).await.map(Ok),
            Err(failure) => Ok(Err(failure)),
        }
    }

    pub(super) async fn set_thresholds(&self, call: Call, thresholds: Vec<Threshold>) -> Result<()> {
        let mut client = call.connect(&self.pool).await?;
        let transaction = call.begin(&mut client).await?;
        let update = "UPDATE face.gallery SET space = jsonb_set(space, '{thresholds}', $2) WHERE id = $1";
        match call.execute(&transaction, update, &[&self.id, &Json(thresholds)]).await? {
            0 => Err(gone(&call)),
            _ => call.commit(transaction).await,
        }
    }

    pub(super) async fn remove_subject(&self, call: Call, subject: SubjectId) -> Result<()> {
        let id = signed(&call, subject)?;
        let mut client = call.connect(&self.pool).await?;
        let transaction = call.begin(&mut client).await?;
        call.rows(&transaction, LOCK, &[&self.id]).await?;
        let templates = "DELETE FROM face.template WHERE gallery_id = $1 AND subject_id = $2";
        let templates = call.execute(&transaction, templates, &[&self.id, &id]).await?;
        let removed = "DELETE FROM face.subject WHERE gallery_id = $1 AND id = $2";
        if call.execute(&transaction, removed, &[&self.id, &id]).await? == 0 {
            return Err(no_subject(&call, subject));
        }
        call.execute(&transaction, COUNT_DOWN, &[&self.id, &1_i64, &templates.cast_signed()]).await?;
        call.commit(transaction).await
    }

    pub(super) async fn remove_template(&self, call: Call, template: TemplateId) -> Result<()> {
        let missing = || call.not_enrolled(format!("template {template}"));
        let id = i64::try_from(template.0).map_err(|_| missing())?;
        let mut client = call.connect(&self.pool).await?;
        let transaction = call.begin(&mut client).await?;
        call.rows(&transaction, LOCK, &[&self.id]).await?;
        let removed = "DELETE FROM face.template WHERE gallery_id = $1 AND id = $2";
        if call.execute(&transaction, removed, &[&self.id, &id]).await? == 0 {
            return Err(missing());
        }
        call.execute(&transaction, COUNT_DOWN, &[&self.id, &0_i64, &1_i64]).await?;
        call.commit(transaction).await
    }

    pub(super) async fn subject(&self, call: Call, subject: SubjectId) -> Result<Subject> {
        let id = signed(&call, subject)?;
        let client = call.connect(&self.pool).await?;
        let rows = call.rows(&client, &subjects("gallery_id = $1 AND id = $2"), &[&self.id, &id]).await?;
        rows.first().map_or_else(|| Err(no_subject(&call, subject)), |row| read_subject(&call, row))
    }

    pub(super) async fn find(&self, call: Call, name: String) -> Result<Option<Subject>> {
        // No name holds a NUL, and PostgreSQL takes none in a question either.
        if name.contains('\0') {
            return Ok(None);
        }
        let client = call.connect(&self.pool).await?;
        let rows = call.rows(&client, &subjects("gallery_id = $1 AND name = $2"), &[&self.id, &name]).await?;
        rows.first().map(|row| read_subject(&call, row)).transpose()
    }

    pub(super) async fn list(&self, call: Call, page: Page) -> Result<Vec<Subject>> {
        let after = page.after.map_or(0, |id| i64::try_from(id.0).unwrap_or(i64::MAX));
        let client = call.connect(&self.pool).await?;
        let select = subjects("gallery_id = $1 AND id > $2 ORDER BY id LIMIT $3");
        let rows = call.rows(&client, &select, &[&self.id, &after, &(page.limit as i64)]).await?;
        rows.iter().map(|row| read_subject(&call, row)).collect()
    }

    pub(super) async fn count(&self, call: Call, filter: SubjectFilter) -> Result<GalleryCount> {
        let client = call.connect(&self.pool).await?;
        let rows = if filter.is_all() {
            let select = "SELECT subjects, templates FROM face.gallery WHERE id = $1";
            call.rows(&client, select, &[&self.id]).await?
        } else {
            let (conditions, values) = filter_sql(&filter, "s.id", 2);
            let select = format!(
                "SELECT count(DISTINCT s.id), count(t.id) FROM face.subject s \
                 LEFT JOIN face.template t ON t.gallery_id = $1 AND t.subject_id = s.id \
                 WHERE s.gallery_id = $1{conditions}"
            );
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![&self.id];
            params.extend(borrowed(&values));
            call.rows(&client, &select, &params).await?
        };
        let row = rows.first().ok_or_else(|| gone(&call))?;
        let count = |column| call.get::<i64>(row, column).map(i64::cast_unsigned);
        Ok(GalleryCount { subjects: count(0)?, templates: count(1)? })
    }

    pub(super) async fn embedding(&self, call: Call, template: TemplateId) -> Result<Embedding> {
        let missing = || call.not_enrolled(format!("template {template}"));
        let id = i64::try_from(template.0).map_err(|_| missing())?;
        let client = call.connect(&self.pool).await?;
        let select = "SELECT embedding FROM face.template WHERE gallery_id = $1 AND id = $2";
        let rows = call.rows(&client, select, &[&self.id, &id]).await?;
        let row = rows.first().ok_or_else(missing)?;
        let vector: Vector = call.get(row, 0)?;
        Ok(Embedding::restored(vector.into(), Arc::clone(&self.space)))
    }

    /// Writes the tables anew, without the rows that were removed.
    pub(super) async fn compact(&self, call: Call) -> Result<()> {
        let client = call.connect(&self.pool).await?;
        // VACUUM passes over what its role may not touch, with nothing but a warning.
        let allowed = "SELECT coalesce(bool_and(CASE WHEN current_setting('server_version_num')::int >= 170000 \
                       THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE pg_has_role(c.relowner, 'USAGE') END), false), \
                       pg_is_in_recovery() FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                       WHERE n.nspname = 'face' AND c.relkind IN ('r', 'p')";
        let rows = call.rows(&client, allowed, &[]).await?;
        let row = rows.first().ok_or_else(|| gone(&call))?;
        if call.get(row, 1)? {
            return Err(Error::GalleryReadOnly { gallery: call.gallery.to_string() });
        }
        if !call.get::<bool>(row, 0)? {
            return Err(call.refused("only the owner of the tables may rewrite them".into()));
        }
        call.batch(&client, "SET statement_timeout = 0").await?;
        let done = call.batch(&client, "VACUUM (FULL, ANALYZE) face.template, face.subject, face.gallery").await;
        // The pool makes a new one, with the usual limit.
        discard(client);
        done
    }
}

/// The subjects that a condition picks, each in one row with all its templates.
fn subjects(condition: &str) -> String {
    format!(
        "SELECT s.id, s.name, s.metadata, t.ids, t.qualities, t.sources, t.times \
         FROM (SELECT id, name, metadata FROM face.subject WHERE {condition}) s \
         LEFT JOIN LATERAL (SELECT array_agg(id ORDER BY id) AS ids, array_agg(quality ORDER BY id) AS qualities, \
         array_agg(source ORDER BY id) AS sources, array_agg(enrolled_at ORDER BY id) AS times \
         FROM face.template WHERE gallery_id = $1 AND subject_id = s.id) t ON true ORDER BY s.id"
    )
}

fn read_subject(call: &Call, row: &Row) -> Result<Subject> {
    let ids = call.get::<Option<Vec<i64>>>(row, 3)?.unwrap_or_default();
    let qualities = call.get::<Option<Vec<Option<f32>>>>(row, 4)?.unwrap_or_default();
    let sources = call.get::<Option<Vec<Option<String>>>>(row, 5)?.unwrap_or_default();
    let times = call.get::<Option<Vec<i64>>>(row, 6)?.unwrap_or_default();
    let templates = ids.into_iter().zip(qualities).zip(sources).zip(times);
    let template = |(((id, quality), source), time): (((i64, _), _), i64)| Template {
        id: TemplateId(id.cast_unsigned()),
        quality,
        source,
        enrolled_at: time.cast_unsigned(),
    };
    let Json(metadata) = call.get(row, 2)?;
    let id = call.get::<i64>(row, 0)?.cast_unsigned();
    Ok(Subject { id: SubjectId(id), name: call.get(row, 1)?, metadata, templates: templates.map(template).collect() })
}

/// A filter as conditions on the subject's id and on the row `s` of `face.subject`, with parameters from `$first` on.
pub(super) fn filter_sql(filter: &SubjectFilter, id: &str, first: usize) -> (String, Values) {
    let (mut conditions, mut values): (String, Values) = (String::new(), vec![]);
    if let Some(subjects) = &filter.subjects {
        conditions += &format!(" AND {id} = ANY(${})", first + values.len());
        // What does not fit is nobody's id.
        values.push(Box::new(subjects.iter().filter_map(|id| i64::try_from(id.0).ok()).collect::<Vec<i64>>()));
    }
    if !filter.metadata.is_empty() {
        conditions += &format!(" AND s.metadata @> ${}", first + values.len());
        values.push(Box::new(Json(filter.metadata.clone())));
    }
    (conditions, values)
}

fn signed(call: &Call, subject: SubjectId) -> Result<i64> {
    i64::try_from(subject.0).map_err(|_| no_subject(call, subject))
}

fn no_subject(call: &Call, subject: SubjectId) -> Error {
    call.not_enrolled(format!("subject {subject}"))
}

fn gone(call: &Call) -> Error {
    call.refused("it was removed from the database".into())
}
