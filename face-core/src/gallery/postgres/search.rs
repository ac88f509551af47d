//! Searching: the server compares in single precision, and what may be among the best is compared again in double
//! precision, so that the answer is that of a brute-force search.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use deadpool_postgres::Object;
use pgvector::Vector;
use tokio::task::JoinSet;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Shared;
use super::connection::{Call, borrowed};
use super::records::filter_sql;
use crate::error::{Error, Result};
use crate::gallery::identification::{Candidate, SearchMode, SearchParams};
use crate::gallery::records::{SubjectFilter, SubjectId, TemplateId};
use crate::stage::{Embedding, Metric};

/// Probes whose statements are sent without waiting for the answer to the one before.
pub(super) const PIPELINE: usize = 8;
/// More rows than this are not asked of the graph for one probe.
const MAX_GRAPH_ROWS: usize = 4096;

/// What all probes of a search have in common.
struct Plan {
    call: Call,
    params: SearchParams,
    metric: Metric,
    is_approximate: bool,
    /// For how many rows the first statement asks.
    limit: usize,
    margin: Margin,
}

/// A template with its similarity, before the best of each subject is taken.
struct Scored {
    subject: i64,
    template: i64,
    /// As the server has it.
    distance: f64,
    similarity: f64,
    name: String,
}

impl Shared {
    pub(super) async fn search(
        self: Arc<Self>,
        call: Call,
        probes: Vec<Embedding>,
        params: SearchParams,
    ) -> Result<Vec<Vec<Candidate>>> {
        let metric = self.space.metric;
        let client = Arc::new(call.connect(&self.pool).await?);
        let plan = Arc::new(Plan {
            is_approximate: self.is_approximate(&call, &client, params.mode).await?,
            // A power of two: few different statements to be prepared.
            limit: (4 * params.top_k + 32).next_power_of_two(),
            margin: Margin::new(metric, self.space.dimension),
            metric,
            params,
            call,
        });
        let mut answers: Vec<Vec<Candidate>> = vec![];
        for chunk in probes.chunks(PIPELINE) {
            let mut tasks = JoinSet::new();
            for (number, probe) in chunk.iter().enumerate() {
                let (shared, client, plan) = (Arc::clone(&self), Arc::clone(&client), Arc::clone(&plan));
                let probe = probe.vector().to_vec();
                tasks.spawn(async move { (number, shared.search_one(&plan, &client, probe).await) });
            }
            let mut found = BTreeMap::new();
            while let Some(finished) = tasks.join_next().await {
                let (number, answer) = finished.map_err(|error| plan.call.refused(error.to_string()))?;
                found.insert(number, answer?);
            }
            answers.extend(found.into_values());
        }
        Ok(answers)
    }

    async fn is_approximate(&self, call: &Call, client: &Object, mode: SearchMode) -> Result<bool> {
        match (mode, self.hnsw()) {
            (SearchMode::Exact, _) | (SearchMode::Auto, None) => Ok(false),
            (SearchMode::Approximate, Some(_)) => Ok(true),
            (SearchMode::Approximate, None) => Err(Error::InvalidParameter {
                parameter: "the search mode",
                value: "approximate".into(),
                expected: "exact: the gallery was opened without an approximate index".into(),
            }),
            (SearchMode::Auto, Some(hnsw)) => {
                let select = "SELECT templates FROM face.gallery WHERE id = $1";
                let rows = call.rows(client, select, &[&self.id]).await?;
                let templates: i64 = rows.first().map_or(Ok(0), |row| call.get(row, 0))?;
                Ok(templates.cast_unsigned() > hnsw.min_templates)
            }
        }
    }

    async fn search_one(&self, plan: &Plan, client: &Object, probe: Vec<f32>) -> Result<Vec<Candidate>> {
        if plan.is_approximate
            && let Some(found) = self.ask_graph(plan, client, &probe).await?
        {
            return Ok(found);
        }
        let farthest = plan.params.min_similarity.map(|least| plan.farthest(least));
        let mut more: Vec<&(dyn ToSql + Sync)> = farthest.iter().map(|distance| distance as _).collect();
        let rows = self.query(plan, client, &probe, &self.nearest_sql(plan, false, plan.limit), &more).await?;
        let scored = plan.score(&probe, &rows)?;
        if plan.is_complete(&scored) {
            return Ok(plan.rank(scored));
        }
        let top_k = plan.params.top_k as i64;
        more.push(&top_k);
        let rows = self.query(plan, client, &probe, &self.grouped_sql(plan), &more).await?;
        Ok(plan.rank(plan.score(&probe, &rows)?))
    }

    /// Candidates of the graph. `None` when a filter, or many templates of few subjects, leave too few of them.
    async fn ask_graph(&self, plan: &Plan, client: &Object, probe: &[f32]) -> Result<Option<Vec<Candidate>>> {
        let mut limit = plan.limit;
        while limit <= MAX_GRAPH_ROWS.max(plan.limit) {
            let sql = self.nearest_sql(plan, true, limit);
            let rows = self.query(plan, client, probe, &sql, &[]).await?;
            let count = rows.len();
            let scored = plan.score(probe, &rows)?;
            let last = scored.last().map_or(f64::INFINITY, |row| row.similarity);
            let is_past = plan.params.min_similarity.is_some_and(|least| last < f64::from(least));
            let found = plan.rank(scored);
            if found.len() == plan.params.top_k || is_past {
                return Ok(Some(found));
            }
            if count < limit {
                return Ok(None);
            }
            limit *= 4;
        }
        Ok(None)
    }

    /// Sends a statement whose parameters are the probe, `more`, and those of the filter.
    async fn query(
        &self,
        plan: &Plan,
        client: &Object,
        probe: &[f32],
        sql: &str,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let probe = Vector::from(probe.to_vec());
        let (_, values) = filter_sql(&plan.params.filter, "t.subject_id", 2);
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&probe];
        params.extend(more);
        params.extend(borrowed(&values));
        plan.call.rows(client, sql, &params).await
    }

    /// The templates of this gallery that the filter lets pass.
    fn source_sql(&self, filter: &SubjectFilter, first: usize) -> String {
        let (conditions, _) = filter_sql(filter, "t.subject_id", first);
        let id = self.id;
        let join = if filter.metadata.is_empty() {
            ""
        } else {
            "JOIN face.subject s ON s.gallery_id = t.gallery_id AND s.id = t.subject_id "
        };
        // The gallery's number stands there itself, or no index of one gallery could be used.
        format!("face.template t {join}WHERE t.gallery_id = {id}{conditions}")
    }

    /// The nearest templates. An index is used through the very expression that it holds, and through no other.
    fn nearest_sql(&self, plan: &Plan, is_approximate: bool, limit: usize) -> String {
        let (id, dimension) = (self.id, self.space.dimension);
        let filter = &plan.params.filter;
        let (distance, source) = if is_approximate {
            let typed = |vector| format!("{vector}::vector({dimension})");
            (distance_sql(plan.metric, &typed("t.embedding"), &typed("$1")), self.source_sql(filter, 2))
        } else {
            let distance = distance_sql(plan.metric, "t.embedding", "$1");
            let source = match plan.params.min_similarity {
                Some(_) => format!("{} AND {distance} <= $2", self.source_sql(filter, 3)),
                None => self.source_sql(filter, 2),
            };
            (distance, source)
        };
        format!(
            "SELECT n.subject_id, n.id, n.embedding, n.distance, s.name FROM \
             (SELECT t.subject_id, t.id, t.embedding, {distance} AS distance FROM {source} \
             ORDER BY {distance} LIMIT {limit}) n \
             JOIN face.subject s ON s.gallery_id = {id} AND s.id = n.subject_id ORDER BY n.distance"
        )
    }

    /// The best templates of the best subjects, and whatever rounding may have put behind them.
    fn grouped_sql(&self, plan: &Plan) -> String {
        let id = self.id;
        let (source, condition, count) = match plan.params.min_similarity {
            Some(_) => (self.source_sql(&plan.params.filter, 4), " WHERE distance <= $2", "$3"),
            None => (self.source_sql(&plan.params.filter, 3), "", "$2"),
        };
        let distance = distance_sql(plan.metric, "t.embedding", "$1");
        let distance = match plan.metric {
            // Unit vectors are a little longer or shorter than 1; similarities end at 1.
            Metric::Cosine => format!("greatest({distance}, -1)"),
            _ => distance,
        };
        let within = |distance: &str| {
            format!("{distance} + {:e} + {:e} * {distance}", plan.margin.absolute, plan.margin.relative)
        };
        format!(
            "WITH scored AS MATERIALIZED (SELECT t.subject_id, t.id, {distance} AS distance FROM {source}), \
             best AS (SELECT subject_id, min(distance) AS distance FROM scored{condition} GROUP BY subject_id), \
             last AS (SELECT max(distance) AS distance FROM (SELECT distance FROM best ORDER BY distance LIMIT {count}) b) \
             SELECT t.subject_id, t.id, t.embedding, c.distance, s.name FROM scored c \
             JOIN best ON best.subject_id = c.subject_id AND c.distance <= {} \
             JOIN last ON best.distance <= {} \
             JOIN face.template t ON t.gallery_id = {id} AND t.id = c.id \
             JOIN face.subject s ON s.gallery_id = {id} AND s.id = c.subject_id ORDER BY c.distance",
            within("best.distance"),
            within("last.distance"),
        )
    }
}

impl Plan {
    fn score(&self, probe: &[f32], rows: &[Row]) -> Result<Vec<Scored>> {
        let call = &self.call;
        let score = |row: &Row| {
            let vector: Vector = call.get(row, 2)?;
            Ok(Scored {
                subject: call.get(row, 0)?,
                template: call.get(row, 1)?,
                distance: call.get(row, 3)?,
                similarity: self.metric.similarity(probe, vector.as_slice()),
                name: call.get(row, 4)?,
            })
        };
        rows.iter().map(score).collect()
    }

    /// The best template of each subject, the best subjects first.
    fn rank(&self, mut scored: Vec<Scored>) -> Vec<Candidate> {
        scored.sort_by(|a, b| {
            let order = b.similarity.total_cmp(&a.similarity);
            order.then(a.subject.cmp(&b.subject)).then(a.template.cmp(&b.template))
        });
        let mut seen = std::collections::HashSet::new();
        let least = self.params.min_similarity.unwrap_or(f32::NEG_INFINITY);
        let candidate = |row: Scored| Candidate {
            subject: SubjectId(row.subject.cast_unsigned()),
            name: row.name,
            template: TemplateId(row.template.cast_unsigned()),
            similarity: row.similarity as f32,
        };
        let similar = scored.into_iter().map_while(|row| (row.similarity as f32 >= least).then_some(row));
        similar.filter(|row| seen.insert(row.subject)).take(self.params.top_k).map(candidate).collect()
    }

    /// Whether no template that was not fetched can be among the best.
    fn is_complete(&self, scored: &[Scored]) -> bool {
        if scored.len() < self.limit {
            return true;
        }
        let mut seen = std::collections::HashSet::new();
        let last_wanted = scored.iter().find(|row| {
            seen.insert(row.subject);
            seen.len() == self.params.top_k
        });
        let clamped = |row: &Scored| match self.metric {
            Metric::Cosine => row.distance.max(-1.0),
            _ => row.distance,
        };
        match (last_wanted, scored.last()) {
            (Some(wanted), Some(last)) => {
                self.margin.within(clamped(wanted)).total_cmp(&clamped(last)) == Ordering::Less
            }
            _ => false,
        }
    }

    /// Every template of at least this similarity is at most so far away, as the server computes it.
    fn farthest(&self, least: f32) -> f64 {
        match self.metric {
            // Similarities end at -1, and all reach that.
            Metric::Cosine if least <= -1.0 => f64::INFINITY,
            _ => {
                // Rounding the similarity to single precision may have lifted it.
                let distance = -f64::from(least);
                self.margin.within(distance + distance.abs() * f64::from(f32::EPSILON))
            }
        }
    }
}

/// How far apart the server may see two templates of which neither is truly the nearer one.
///
/// A sum of n products in single precision errs by at most n u (u = 2^-24) of the sum of their magnitudes, in whatever order
/// it is added up: for unit vectors by n u at all, for distances by n u / 2 of the distance. The terms round once or twice
/// themselves. Two such errors meet, and a half is added for safety.
#[derive(Clone, Copy)]
struct Margin {
    absolute: f64,
    relative: f64,
}

/// Distances below this vanish in single precision, where they are squared.
const TINY: f64 = 1e-19;

impl Margin {
    fn new(metric: Metric, dimension: usize) -> Self {
        let unit = f64::from(f32::EPSILON) / 2.0;
        let error = 3.0 * (dimension as f64 + 8.0) * unit;
        match metric {
            Metric::Cosine => Self { absolute: error, relative: 0.0 },
            // Squares of very small differences vanish.
            Metric::Euclidean => Self { absolute: TINY, relative: error },
            // Of -cos + β D^γ, the first errs as above, and the second, which is at most 1 more than the sum, by γ times
            // as much as D.
            Metric::GroupAware(group_aware) => {
                let error = error * group_aware.gamma().max(1.0);
                let vanished = group_aware.beta() * TINY.powf(group_aware.gamma());
                Self { absolute: 2.0 * error + vanished, relative: error }
            }
        }
    }

    /// The distance up to which the server may see something that is truly as near as this.
    fn within(self, distance: f64) -> f64 {
        distance + self.absolute + self.relative * distance.abs()
    }
}

/// The distance of two vectors: the similarity with a minus sign.
fn distance_sql(metric: Metric, a: &str, b: &str) -> String {
    match metric {
        Metric::Cosine => format!("{a} <#> {b}"),
        Metric::Euclidean => format!("{a} <-> {b}"),
        Metric::GroupAware(group_aware) => {
            let (size, beta, gamma) = (group_aware.representation(), group_aware.beta(), group_aware.gamma());
            let first = |vector: &str| format!("subvector({vector}::vector, 1, {size})");
            let second = |vector: &str| {
                format!("subvector({vector}::vector, {}, vector_dims({vector}::vector) - {size})", size + 1)
            };
            let (cosine, apart) =
                (format!("{} <#> {}", first(a), first(b)), format!("{} <-> {}", second(a), second(b)));
            format!("(({cosine}) + {beta:e} * power({apart}, {gamma:e}))")
        }
    }
}
