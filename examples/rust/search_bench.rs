//! Our side of `tests/bench/search`: loads vectors, and searches and measures on command.
//!
//! A line on the standard input is a command, a line of JSON on the standard output its answer. Vectors are files of
//! little-endian `f32`. Times are those of the search alone.
//!
//! ```text
//! bandwidth FILE                                  GB/s of a plain sum over the file in memory, on all threads
//! probes FILE DIMENSION                           what is searched for from now on
//! index NAME FILE DIMENSION METRIC PRECISION      an ExactIndex; each vector is a group of its own
//! search NAME FROM COUNT BATCH TOP                rows that were found, for probes FROM..FROM+COUNT
//! create PATH FILE DIMENSION METRIC               a LocalGallery on disk; each vector is a subject of its own
//! open PATH PRECISION [M EF_CONSTRUCTION EF]      opens it, with an approximate index where that is given
//! identify MODE FROM COUNT BATCH TOP              rows that were found in it; MODE is `exact` or `approximate`
//! close                                           closes it: the approximate index is saved
//! ```
#![allow(clippy::print_stdout)] // It is a program.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use face_core::gallery::search::{ExactIndex, Query};
use face_core::gallery::{
    ApproximateParams, Gallery, LocalGallery, LocalGalleryParams, NewSubject, SearchMode, SearchParams,
};
use face_core::{Embedding, EmbeddingSpace, Metric};
use rayon::prelude::*;
use serde_json::{Value, json};

type Outcome<T = Value> = Result<T, Box<dyn Error>>;

/// Subjects that are enrolled in one transaction.
const ENROLLED_AT_ONCE: usize = 10_000;

#[derive(Default)]
struct Bench {
    probes: Vec<Vec<f32>>,
    indexes: HashMap<String, ExactIndex>,
    gallery: Option<LocalGallery>,
}

impl Bench {
    fn answer(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["bandwidth", file] => bandwidth(file),
            ["probes", file, dimension] => {
                self.probes.clear();
                for_each_row(file, dimension.parse()?, |_, row| {
                    self.probes.push(row.to_vec());
                    Ok(())
                })?;
                Ok(json!({ "probes": self.probes.len() }))
            }
            ["index", name, file, dimension, metric, precision] => {
                let (before, start) = (resident_bytes()?, Instant::now());
                let dimension = dimension.parse()?;
                let mut index = ExactIndex::new(dimension, parse(metric)?, parse(precision)?)?;
                for_each_row(file, dimension, |row, vector| Ok(index.insert(row, row, vector)?))?;
                let resident = resident_bytes()?.saturating_sub(before);
                let answer = json!({ "rows": index.len(), "seconds": start.elapsed().as_secs_f64(),
                    "resident_bytes": resident, "stated_bytes": index.memory_bytes() });
                self.indexes.insert((*name).to_owned(), index);
                Ok(answer)
            }
            ["search", name, rest @ ..] => {
                let index = self.indexes.get(*name).ok_or("no such index")?;
                let (from, count, batch, top_k) = four(rest)?;
                let probes = self.probes.get(from..from + count).ok_or("no such probes")?;
                let probes: Vec<&[f32]> = probes.iter().map(Vec::as_slice).collect();
                let query = Query { top_k, ..Query::default() };
                let start = Instant::now();
                let found: Vec<_> = probes.chunks(batch).flat_map(|probes| index.search(probes, &query)).collect();
                let seconds = start.elapsed().as_secs_f64();
                let rows = |hits: &Vec<face_core::gallery::search::Hit>| hits.iter().map(|hit| hit.key).collect();
                Ok(json!({ "seconds": seconds, "rows": found.iter().map(rows).collect::<Vec<Vec<u64>>>() }))
            }
            ["create", path, file, dimension, metric] => create(path, file, dimension.parse()?, parse(metric)?),
            ["open", path, precision, graph @ ..] => {
                let approximate = match graph {
                    [] => None,
                    [m, add, search] => Some(ApproximateParams {
                        connectivity: m.parse()?,
                        expansion_add: add.parse()?,
                        expansion_search: search.parse()?,
                        ..ApproximateParams::default()
                    }),
                    _ => return Err("open PATH PRECISION [M EF_CONSTRUCTION EF]".into()),
                };
                let params = LocalGalleryParams { precision: parse(precision)?, approximate };
                let (before, start) = (resident_bytes()?, Instant::now());
                let gallery = LocalGallery::open_with(path, &params)?;
                let seconds = start.elapsed().as_secs_f64();
                let (resident, stated) = (resident_bytes()?.saturating_sub(before), gallery.memory_use());
                self.gallery = Some(gallery);
                Ok(json!({ "seconds": seconds, "resident_bytes": resident, "stated_bytes": stated }))
            }
            ["identify", mode, rest @ ..] => {
                let gallery = self.gallery.as_ref().ok_or("no gallery is open")?;
                let (from, count, batch, top_k) = four(rest)?;
                let mode = if *mode == "exact" { SearchMode::Exact } else { SearchMode::Approximate };
                let params = SearchParams { top_k, mode, ..SearchParams::default() };
                let probes = self.probes.get(from..from + count).ok_or("no such probes")?;
                let embed = |probe: &Vec<f32>| Embedding::new(probe.clone(), Arc::clone(gallery.space()));
                let probes = probes.iter().map(embed).collect::<face_core::Result<Vec<_>>>()?;
                let mut found = Vec::with_capacity(count);
                let start = Instant::now();
                for probes in probes.chunks(batch) {
                    found.extend(gallery.search(probes, &params)?);
                }
                let seconds = start.elapsed().as_secs_f64();
                // Ids count from 1, in the order of the file.
                let rows = found.iter().map(|list| list.iter().map(|candidate| candidate.template.0 - 1).collect());
                Ok(json!({ "seconds": seconds, "rows": rows.collect::<Vec<Vec<u64>>>() }))
            }
            ["close"] => {
                let start = Instant::now();
                self.gallery.take().ok_or("no gallery is open")?.save_index()?;
                Ok(json!({ "seconds": start.elapsed().as_secs_f64() }))
            }
            ["defaults"] => {
                let ApproximateParams { connectivity, expansion_add, expansion_search, .. } = Default::default();
                let threads = rayon::current_num_threads();
                Ok(json!({ "threads": threads, "graph": [connectivity, expansion_add, expansion_search] }))
            }
            _ => Err("no such command".into()),
        }
    }
}

fn create(path: &str, file: &str, dimension: usize, metric: Metric) -> Outcome {
    let space = Arc::new(EmbeddingSpace {
        model: "benchmark".into(),
        digest: "00".into(),
        dimension,
        preprocessing: "none".into(),
        averaging: "none".into(),
        metric,
        thresholds: vec![],
    });
    let start = Instant::now();
    let gallery = LocalGallery::create(path, Arc::clone(&space))?;
    let mut batch = vec![];
    for_each_row(file, dimension, |row, vector| {
        let embedding = Embedding::new(vector.to_vec(), Arc::clone(&space))?;
        batch.push(NewSubject::new(format!("person {row:07}"), vec![embedding.into()]));
        if batch.len() == ENROLLED_AT_ONCE {
            gallery.enroll_batch(std::mem::take(&mut batch))?;
        }
        Ok(())
    })?;
    gallery.enroll_batch(batch)?;
    let templates = gallery.count()?.templates;
    drop(gallery);
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({ "seconds": seconds, "templates": templates, "file_bytes": Path::new(path).metadata()?.len() }))
}

/// What the memory gives when hardly anything is done with it: the file as integers that are added up, each thread a part.
fn bandwidth(file: &str) -> Outcome {
    let mut bytes = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut words = Vec::with_capacity(usize::try_from(Path::new(file).metadata()?.len())? / 8);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = bytes.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        words.extend(buffer[..read].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
    }
    let part = words.len().div_ceil(rayon::current_num_threads()).max(1);
    let mut rates = vec![];
    for _ in 0..9 {
        let start = Instant::now();
        let sum = |words: &[u64]| words.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
        let total = words.par_chunks(part).map(sum).reduce(|| 0, u64::wrapping_add);
        std::hint::black_box(total);
        rates.push((8 * words.len()) as f64 / start.elapsed().as_secs_f64() / 1e9);
    }
    rates.sort_by(f64::total_cmp);
    Ok(json!({ "gb_per_s": rates[rates.len() / 2] }))
}

fn for_each_row(file: &str, dimension: usize, mut work: impl FnMut(u64, &[f32]) -> Outcome<()>) -> Outcome<()> {
    let mut input = BufReader::with_capacity(1 << 20, File::open(file)?);
    let mut bytes = vec![0; 4 * dimension];
    let mut row = 0;
    while !input.fill_buf()?.is_empty() {
        input.read_exact(&mut bytes)?;
        let vector: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        work(row, &vector)?;
        row += 1;
    }
    Ok(())
}

/// Memory that the process occupies, from Linux's `/proc`; 0 on other systems.
fn resident_bytes() -> Outcome<u64> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(0) };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes << 10)
}

/// A metric or a precision, by its name.
fn parse<T: serde::de::DeserializeOwned>(name: &str) -> Outcome<T> {
    Ok(serde_json::from_value(json!(name))?)
}

fn four(words: &[&str]) -> Outcome<(usize, usize, usize, usize)> {
    let numbers = words.iter().map(|word| usize::from_str(word)).collect::<Result<Vec<_>, _>>()?;
    match numbers.as_slice() {
        [from, count, batch, top] if *batch > 0 => Ok((*from, *count, *batch, *top)),
        _ => Err("FROM COUNT BATCH TOP".into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::default();
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = bench.answer(&words).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
