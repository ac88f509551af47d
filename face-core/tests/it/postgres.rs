//! The gallery on a PostgreSQL server: what can go wrong there, and what only such a gallery has. What it has in common with
//! the others is in `gallery_suite`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use face_core::gallery::{
    Gallery, GalleryCount, HnswParams, IdentifyParams, Metadata, NewSubject, NewTemplate, Page, PostgresGallery,
    PostgresIndex, PostgresParams, PostgresTls, SearchMode, SearchParams, SubjectFilter, SubjectId,
};
use face_core::{EmbeddingSpace, Error, Metric, Result, Threshold};

use super::gallery_suite::{Model, Random, embedding, partitions_sql, space};
use super::server::{Certificate, PASSWORD, Proxy, Sql, own, own_without_pgvector, shared};

fn small() -> Arc<EmbeddingSpace> {
    space(Metric::Cosine, 8)
}

fn subject(name: &str, number: u64) -> NewSubject {
    NewSubject::new(name, vec![embedding(&small(), Random(number).vector(8)).into()])
}

fn create(params: &PostgresParams) -> Result<PostgresGallery> {
    PostgresGallery::create(params, small())
}

/// The message of an error of the store, without the password in any form of it.
fn store_error<T>(result: Result<T>) -> String {
    let Err(error) = result else { panic!("no error") };
    assert!(matches!(error, Error::GalleryStore { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && !text.contains("s3cret"), "{text}");
    error.to_string()
}

fn one_subject() -> GalleryCount {
    GalleryCount { subjects: 1, templates: 1 }
}

#[test]
fn a_database_holds_several_galleries() {
    let Some(server) = shared("postgres::a_database_holds_several_galleries") else { return };
    let params = server.params("several");
    let error = store_error(PostgresGallery::open(&params));
    assert!(error.contains("holds no galleries"), "{error}");
    let staff = PostgresParams { gallery: "Staff".into(), ..params.clone() };
    let guests = PostgresParams { gallery: "Guests".into(), ..params.clone() };
    let first = create(&staff).unwrap();
    let second = PostgresGallery::create(&guests, space(Metric::Euclidean, 3)).unwrap();
    assert_eq!(first.name(), format!("postgresql://127.0.0.1:{}/several/Staff", server.port));
    assert_eq!(PostgresGallery::names(&params).unwrap(), ["Guests", "Staff"]);

    first.enroll(subject("Ada", 1)).unwrap();
    assert_eq!(second.count().unwrap(), GalleryCount::default());
    assert_eq!(second.find("Ada").unwrap(), None);
    let probe = embedding(second.space(), vec![1.0, 2.0, 3.0]);
    assert_eq!(second.search(&[probe], &SearchParams::default()).unwrap(), [vec![]]);

    let error = store_error(create(&staff));
    assert!(error.contains("create the gallery") && error.contains("there already"), "{error}");
    let error = store_error(PostgresGallery::open(&params));
    assert!(error.contains("no such gallery") && error.contains("Guests, Staff"), "{error}");
    assert_eq!(PostgresGallery::open(&staff).unwrap().count().unwrap(), one_subject());

    let threshold = Threshold { similarity: 0.25, far: 1e-4, measured_on: "later".into() };
    first.set_thresholds(vec![threshold.clone()]).unwrap();
    assert_eq!(PostgresGallery::open(&staff).unwrap().space().thresholds, [threshold]);

    // Removed as a whole by somebody else, as the manual has it.
    Sql::connect(&params.url).execute("DELETE FROM face.gallery WHERE name = 'Staff'");
    let error = store_error(first.enroll(subject("Ben", 2)));
    assert!(error.contains("removed from the database"), "{error}");
    assert_eq!(Sql::connect(&params.url).rows("SELECT count(*) FROM face.template"), ["0"]);
}

#[test]
fn what_cannot_be_reached_is_said_without_the_password() {
    let Some(server) = shared("postgres::what_cannot_be_reached_is_said_without_the_password") else { return };
    let params = server.params("reach");
    let with = |url: String| PostgresParams { url, connect_timeout: Duration::from_secs(3), ..params.clone() };
    let error = store_error(create(&with(params.url.replace("s3cret", "wrong"))));
    assert!(error.contains("password authentication failed"), "{error}");
    let error = store_error(create(&with(server.url("nowhere"))));
    assert!(error.contains("nowhere") && error.contains("does not exist"), "{error}");
    let nobody_listens = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = store_error(create(&with(server.url_at(nobody_listens, "reach"))));
    assert!(error.contains("refused") && error.contains(&nobody_listens.to_string()), "{error}");
    // Somebody listens, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let error = store_error(create(&with(server.url_at(silent.local_addr().unwrap().port(), "reach"))));
    assert!(error.contains("no connection was made in time"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
    // The socket beside the port, which needs no TLS.
    let socket = PostgresParams { tls: PostgresTls::Require, ..with(server.socket_url("reach")) };
    create(&socket).unwrap().enroll(subject("Ada", 1)).unwrap();
    assert_eq!(PostgresGallery::open(&params).unwrap().count().unwrap(), one_subject());
}

#[test]
fn tls_needs_a_certificate_that_is_trusted_and_fits_the_host() {
    let Some(server) = shared("postgres::tls_needs_a_certificate_that_is_trusted_and_fits_the_host") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (Certificate::new("localhost"), Certificate::new("localhost"));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        PostgresTls::RootCertificate(path)
    };
    let (trusted, untrusted) = (file("own.pem", &own.authority_pem), file("other.pem", &other.authority_pem));
    let proxy = Proxy::start(server.port, Some(&own));
    server.database("tls");
    let by_address = server.url_at(proxy.port, "tls");
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let with = |url: &str, tls: &PostgresTls| PostgresParams { tls: tls.clone(), ..PostgresParams::new(url) };

    let gallery = create(&with(&by_name, &trusted)).unwrap();
    gallery.enroll(subject("Ada", 1)).unwrap();
    assert_eq!(gallery.count().unwrap(), one_subject());
    for (url, tls, expected) in [
        (&by_name, &untrusted, "certificate"),
        (&by_name, &PostgresTls::Require, "certificate"),
        (&by_address, &trusted, "certificate"),
        // The server itself has no TLS, and is not talked to without.
        (&server.url("tls"), &trusted, "does not support TLS"),
    ] {
        let error = store_error(PostgresGallery::open(&with(url, tls)));
        assert!(error.contains(expected), "{error}");
    }
    // The proxy takes nothing else.
    store_error(PostgresGallery::open(&with(&by_name, &PostgresTls::Disable)));

    let missing = PostgresTls::RootCertificate(folder.path().join("missing.pem"));
    assert!(matches!(PostgresGallery::open(&with(&by_name, &missing)), Err(Error::Io { .. })));
    for (name, text) in
        [("empty.pem", ""), ("broken.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")]
    {
        let error = PostgresGallery::open(&with(&by_name, &file(name, text))).err().unwrap();
        assert!(matches!(error, Error::InvalidParameter { .. }) && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_gallery_works_again_when_the_server_is_back() {
    let Some(server) = own("postgres::a_gallery_works_again_when_the_server_is_back") else { return };
    let params = PostgresParams { connect_timeout: Duration::from_secs(5), ..server.params("away") };
    let gallery = create(&params).unwrap();
    let mut expected = 0;
    for signal in ["INT", "QUIT"] {
        // Several connections in the pool.
        std::thread::scope(|scope| {
            for number in 0..4 {
                let gallery = &gallery;
                scope.spawn(move || gallery.enroll(subject(&format!("{signal} {number}"), number)).unwrap());
            }
        });
        expected += 4;
        server.stop(signal);
        let start = Instant::now();
        let probe = embedding(&small(), Random(1).vector(8));
        let errors = [
            store_error(gallery.enroll(subject("Nobody", 9))),
            store_error(gallery.search(std::slice::from_ref(&probe), &SearchParams::default())),
            store_error(gallery.identify(&probe, &IdentifyParams::default())),
            store_error(gallery.count()),
            store_error(gallery.list(&Page::default())),
            store_error(gallery.remove_subject(SubjectId(1))),
            store_error(gallery.compact()),
            store_error(PostgresGallery::open(&params)),
        ];
        for error in errors {
            assert!(error.contains("connect") && error.contains(&gallery.name()), "{error}");
        }
        assert!(start.elapsed() < Duration::from_secs(60));
        server.restart();
        assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: expected, templates: expected });
        assert_eq!(gallery.find("Nobody").unwrap(), None);
        assert_eq!(gallery.search(&[probe], &SearchParams::default()).unwrap()[0].len(), expected.min(5) as usize);
    }
    assert_eq!(gallery.enroll(subject("Ada", 1)).unwrap(), SubjectId(9));
}

/// Lets an enrolment come to where the templates are written, and breaks its connection there.
#[test]
fn a_connection_lost_in_mid_transaction_leaves_nothing() {
    let Some(server) = shared("postgres::a_connection_lost_in_mid_transaction_leaves_nothing") else { return };
    let params = server.params("lost");
    let gallery = create(&params).unwrap();
    gallery.enroll(subject("Ada", 1)).unwrap();
    let (blocker, watcher) = (Sql::connect(&params.url), Sql::connect(&params.url));
    for round in 0..3 {
        blocker.execute("BEGIN; LOCK TABLE face.template IN SHARE MODE");
        std::thread::scope(|scope| {
            let batch = (0..10).map(|number| subject(&format!("P{number}"), number)).collect();
            let enrolment = scope.spawn(|| gallery.enroll_batch(batch));
            let waits = "SELECT pid FROM pg_stat_activity WHERE datname = 'lost' AND wait_event_type = 'Lock'";
            let pid = watcher.wait_for(waits);
            watcher.execute(&format!("SELECT pg_terminate_backend({pid})"));
            let error = store_error(enrolment.join().unwrap());
            assert!(error.contains("enrol in the gallery") && error.contains("terminating connection"), "{error}");
        });
        blocker.execute("ROLLBACK");
        assert_eq!(gallery.count().unwrap(), one_subject(), "round {round}");
        assert_eq!(
            watcher.rows("SELECT (SELECT count(*) FROM face.subject), (SELECT count(*) FROM face.template)"),
            ["1|1"]
        );
    }
    let ids = gallery.enroll_batch((0..10).map(|number| subject(&format!("P{number}"), number)).collect()).unwrap();
    assert_eq!(ids[0], SubjectId(2));
}

#[test]
fn stale_connections_are_replaced_unseen() {
    let Some(server) = shared("postgres::stale_connections_are_replaced_unseen") else { return };
    let params = PostgresParams { pool_size: 3, ..server.params("stale") };
    let gallery = create(&params).unwrap();
    let admin = Sql::connect(&server.url("postgres"));
    for round in 1..=5 {
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| gallery.list(&Page::default()).unwrap());
            }
        });
        let others = "FROM pg_stat_activity WHERE datname = 'stale'";
        assert!(admin.rows(&format!("SELECT 1 {others}")).len() <= 3);
        assert!(!admin.rows(&format!("SELECT pg_terminate_backend(pid, 5000) {others}")).is_empty());
        // Each once: a change that was sent twice would be refused or counted.
        gallery.enroll(subject(&format!("P{round}"), round)).unwrap();
        assert_eq!(gallery.count().unwrap().subjects, round);
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let Some(server) = shared("postgres::a_server_that_falls_silent_is_given_up") else { return };
    let direct = PostgresParams { statement_timeout: Duration::from_secs(1), ..server.params("silent") };
    let proxy = Proxy::start(server.port, None);
    let url = server.url_at(proxy.port, "silent");
    let params = PostgresParams { url, connect_timeout: Duration::from_secs(2), ..direct.clone() };
    let gallery = create(&params).unwrap();
    gallery.enroll(subject("Ada", 1)).unwrap();
    // Enough to begin a transaction and to take ids, and not enough for the rest.
    proxy.budget.store(400, std::sync::atomic::Ordering::SeqCst);
    let start = Instant::now();
    let error = store_error(gallery.enroll_batch((0..50).map(|n| subject(&format!("P{n}"), n)).collect()));
    assert!(error.contains("no answer within"), "{error}");
    let error = store_error(gallery.count());
    assert!(error.contains("no connection was made in time"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30));
    proxy.budget.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(gallery.count().unwrap(), one_subject());
    // The server ends the transaction that it waits in, so that the gallery is not held for ever.
    let other =
        PostgresGallery::open(&PostgresParams { statement_timeout: Duration::from_secs(20), ..direct }).unwrap();
    other.enroll(subject("Ben", 2)).unwrap();
    assert_eq!(other.find("P0").unwrap(), None);
    assert_eq!(gallery.count().unwrap().subjects, 2);
}

#[test]
fn statements_that_take_too_long_are_stopped() {
    let Some(server) = shared("postgres::statements_that_take_too_long_are_stopped") else { return };
    let params = server.params("slow");
    let patient = create(&params).unwrap();
    patient.enroll(subject("Ada", 1)).unwrap();
    let hasty = PostgresParams { statement_timeout: Duration::from_millis(400), pool_size: 1, ..params.clone() };
    let hasty = PostgresGallery::open(&hasty).unwrap();
    let blocker = Sql::connect(&params.url);
    blocker.execute("BEGIN; LOCK TABLE face.template IN ACCESS EXCLUSIVE MODE");
    let probe = embedding(&small(), Random(1).vector(8));
    // Several times: what is left of a failed COPY must not disturb what the connection does next.
    for _ in 0..5 {
        for error in [
            store_error(hasty.enroll(subject("Ben", 2))),
            store_error(hasty.search(std::slice::from_ref(&probe), &SearchParams::default())),
            store_error(hasty.add_templates(SubjectId(1), subject("", 2).templates)),
            store_error(hasty.remove_subject(SubjectId(1))),
        ] {
            assert!(error.contains("statement timeout") && error.contains("statement_timeout is 400ms"), "{error}");
        }
    }
    blocker.execute("ROLLBACK");
    assert_eq!(patient.count().unwrap(), one_subject());
    assert_eq!(hasty.search(&[probe], &SearchParams::default()).unwrap()[0][0].name, "Ada");
}

/// A renaming does not wait for an enrolment, and may take a name while that is under way.
#[test]
fn a_name_that_is_taken_in_between_is_said() {
    let Some(server) = shared("postgres::a_name_that_is_taken_in_between_is_said") else { return };
    let params = server.params("between");
    let gallery = create(&params).unwrap();
    let ada = gallery.enroll(subject("Ada", 1)).unwrap();
    let (blocker, watcher) = (Sql::connect(&params.url), Sql::connect(&params.url));
    // The renaming is there, but not yet confirmed.
    blocker.execute("BEGIN; UPDATE face.subject SET name = 'Ben'");
    std::thread::scope(|scope| {
        let enrolment = scope.spawn(|| gallery.enroll_batch(vec![subject("Cem", 2), subject("Ben", 3)]));
        watcher.wait_for("SELECT 1 FROM pg_stat_activity WHERE datname = 'between' AND wait_event_type = 'Lock'");
        blocker.execute("COMMIT");
        let error = enrolment.join().unwrap().unwrap_err();
        assert!(matches!(&error, Error::NameTaken { name, .. } if name == "Ben"), "{error}");
    });
    assert_eq!(gallery.count().unwrap(), one_subject());
    assert_eq!(gallery.subject(ada).unwrap().name, "Ben");
    assert_eq!(gallery.enroll(subject("Ada", 1)).unwrap(), SubjectId(2));
}

#[test]
fn schemas_of_other_versions_are_refused_or_brought_up_to_date() {
    let Some(server) = shared("postgres::schemas_of_other_versions_are_refused_or_brought_up_to_date") else { return };
    let params = server.params("versions");
    // As the first version left it, with a gallery.
    let sql = Sql::connect(&params.url);
    sql.execute("CREATE EXTENSION vector; CREATE SCHEMA face");
    sql.execute(
        "CREATE TABLE face.schema_version (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
    );
    sql.execute(include_str!("../../src/gallery/postgres/migrations/0001_galleries.sql"));
    sql.execute("INSERT INTO face.schema_version (version) VALUES (1)");
    let space = serde_json::to_string(&*small()).unwrap();
    sql.execute(&format!(
        "INSERT INTO face.gallery (name, space, dimension, next_subject, next_template, subjects, templates) \
         VALUES ('default', '{space}', 8, 2, 2, 1, 1); \
         INSERT INTO face.subject VALUES (1, 1, 'Ada', '{{}}'); \
         INSERT INTO face.template VALUES (1, 1, 1, NULL, NULL, 0, '[1,0,0,0,0,0,0,0]')"
    ));
    // Who may only read cannot migrate.
    let reader = format!("{}?options=-c%20default_transaction_read_only%3Don", params.url);
    let read_only = PostgresParams { url: reader, ..params.clone() };
    let error = PostgresGallery::open(&read_only).err().unwrap();
    assert!(matches!(error, Error::GalleryVersion { .. }), "{error}");
    assert!(error.to_string().contains("schema version 1") && error.to_string().contains("primary"), "{error}");
    assert_eq!(sql.rows("SELECT version FROM face.schema_version"), ["1"]);

    let gallery = PostgresGallery::open(&params).unwrap();
    assert_eq!(sql.rows("SELECT version FROM face.schema_version ORDER BY 1"), ["1", "2"]);
    assert_eq!(gallery.subject(SubjectId(1)).unwrap().name, "Ada");
    assert_eq!(gallery.enroll(subject("Ben", 2)).unwrap(), SubjectId(2));
    // Now it can be read, and a change is refused as such.
    let gallery = PostgresGallery::open(&read_only).unwrap();
    assert_eq!(gallery.count().unwrap().subjects, 2);
    for result in
        [gallery.enroll(subject("Cem", 3)).map(|_| ()), gallery.rename(SubjectId(1), "Eva"), gallery.compact()]
    {
        // A session that may not write can still clean up.
        assert!(matches!(result, Err(Error::GalleryReadOnly { .. }) | Ok(())), "{result:?}");
    }
    assert!(matches!(gallery.enroll(subject("Cem", 3)), Err(Error::GalleryReadOnly { .. })));

    sql.execute("INSERT INTO face.schema_version (version) VALUES (99)");
    for error in [PostgresGallery::open(&params).err().unwrap(), create(&params).err().unwrap()] {
        assert!(matches!(error, Error::GalleryVersion { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("schema version 99") && text.contains("reads 2") && text.contains("newer version"),
            "{text}"
        );
    }
}

#[test]
fn many_may_set_up_a_database_at_once() {
    let Some(server) = shared("postgres::many_may_set_up_a_database_at_once") else { return };
    let params = server.params("at_once");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let params = PostgresParams { gallery: format!("gallery {number}"), ..params.clone() };
            scope.spawn(move || create(&params).unwrap().enroll(subject("Ada", number)).unwrap());
        }
    });
    assert_eq!(PostgresGallery::names(&params).unwrap().len(), 8);
    let sql = Sql::connect(&params.url);
    assert_eq!(sql.rows("SELECT count(*), sum(subjects), sum(templates) FROM face.gallery"), ["8|8|8"]);
}

#[test]
fn a_server_without_pgvector_is_refused() {
    let Some(server) = own_without_pgvector("postgres::a_server_without_pgvector_is_refused") else { return };
    let params = server.params("plain");
    let error = store_error(create(&params));
    assert!(error.contains("pgvector cannot be set up") && error.contains("CREATE EXTENSION vector"), "{error}");
    // Nothing half-made.
    assert!(Sql::connect(&params.url).rows("SELECT 1 FROM pg_namespace WHERE nspname = 'face'").is_empty());
}

#[test]
fn roles_may_do_what_they_were_granted() {
    let Some(server) = shared("postgres::roles_may_do_what_they_were_granted") else { return };
    let params = server.params("roles");
    let gallery = create(&params).unwrap();
    gallery.enroll(subject("Ada", 1)).unwrap();
    let sql = Sql::connect(&params.url);
    for role in ["face_reader", "face_writer", "face_stranger"] {
        sql.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'"));
    }
    // The statements of the manual.
    let manual = include_str!("../../docs/postgres.md");
    let grants = manual.split("```sql").find(|block| block.contains("GRANT")).unwrap().split("```").next().unwrap();
    sql.execute(grants);
    let role =
        |role: &str| PostgresParams { url: params.url.replace("//postgres:", &format!("//{role}:")), ..params.clone() };
    let probe = [embedding(&small(), Random(1).vector(8))];

    let reader = PostgresGallery::open(&role("face_reader")).unwrap();
    assert_eq!(reader.search(&probe, &SearchParams::default()).unwrap()[0][0].name, "Ada");
    let id = SubjectId(1);
    for error in [
        store_error(reader.enroll(subject("Ben", 2))),
        store_error(reader.rename(id, "Eva")),
        store_error(reader.set_metadata(id, Metadata::new())),
        store_error(reader.remove_subject(id)),
        store_error(
            reader
                .set_index(&PostgresIndex::Exact)
                .and_then(|()| reader.set_index(&PostgresIndex::Hnsw(HnswParams::default()))),
        ),
    ] {
        assert!(error.contains("permission denied") || error.contains("must be owner"), "{error}");
    }
    let error = store_error(reader.compact());
    assert!(error.contains("owner"), "{error}");

    let writer = PostgresGallery::open(&role("face_writer")).unwrap();
    let ben = writer.enroll(subject("Ben", 2)).unwrap();
    writer.add_templates(ben, subject("", 3).templates).unwrap();
    writer.rename(ben, "Cem").unwrap();
    writer.set_metadata(ben, Metadata::new()).unwrap();
    writer.remove_template(writer.subject(ben).unwrap().templates[0].id).unwrap();
    writer.remove_subject(ben).unwrap();
    assert!(store_error(writer.compact()).contains("owner"));
    let error = store_error(create(&PostgresParams { gallery: "another".into(), ..role("face_writer") }));
    assert!(error.contains("permission denied"), "{error}");

    let error = store_error(PostgresGallery::open(&role("face_stranger")));
    assert!(error.contains("permission denied for schema face"), "{error}");
    assert_eq!(gallery.count().unwrap(), one_subject());
}

#[test]
fn calls_may_come_from_any_thread() {
    let Some(server) = shared("postgres::calls_may_come_from_any_thread") else { return };
    let params = server.params("threads");
    create(&params).unwrap().enroll(subject("Ada", 1)).unwrap();
    let runtimes = [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()];
    for mut builder in runtimes {
        let params = params.clone();
        builder.enable_all().build().unwrap().block_on(async move {
            let gallery = PostgresGallery::open(&params).unwrap();
            assert_eq!(gallery.count().unwrap(), one_subject());
            let gallery = Arc::new(gallery);
            let other = Arc::clone(&gallery);
            tokio::spawn(async move { assert_eq!(other.count().unwrap(), one_subject()) }).await.unwrap();
            // Dropped here, inside of another runtime.
            drop(gallery);
        });
    }
    let gallery = PostgresGallery::open(&PostgresParams { pool_size: 2, ..params }).unwrap();
    let probe = embedding(&small(), Random(1).vector(8));
    use rayon::prelude::*;
    (0..64).into_par_iter().for_each(|_| {
        let found = gallery.search(std::slice::from_ref(&probe), &SearchParams::default()).unwrap();
        assert_eq!(found[0][0].name, "Ada");
    });
}

/// Vectors of people, some of them with a team, as `Model` names them.
fn people(space: &Arc<EmbeddingSpace>, count: usize, random: &mut Random) -> (Vec<Vec<f32>>, Vec<NewSubject>) {
    let centres: Vec<_> = (0..count).map(|_| random.vector(space.dimension)).collect();
    let subject = |(number, centre): (usize, &Vec<f32>)| {
        let photos = (0..2).map(|_| NewTemplate::new(embedding(space, random.near(centre, 0.3))));
        let mut new = NewSubject::new(format!("subject {}", number + 1), photos.collect());
        new.metadata.insert("team".into(), (number % 40).into());
        new
    };
    let subjects = centres.iter().enumerate().map(subject).collect();
    (centres, subjects)
}

#[test]
fn the_graph_finds_what_an_exact_search_finds() {
    let Some(server) = shared("postgres::the_graph_finds_what_an_exact_search_finds") else { return };
    for (database, metric, is_partitioned) in [
        ("hnsw_ip", Metric::Cosine, false),
        ("hnsw_l2", Metric::Euclidean, false),
        ("hnsw_parts", Metric::Cosine, true),
    ] {
        let space = space(metric, 32);
        let params = server.params(database);
        let hnsw = PostgresIndex::Hnsw(HnswParams { min_templates: 1000, ..HnswParams::default() });
        // Small tables are sorted sooner than looked up in a graph, unless that is forbidden.
        let url = format!("{}?options=-c%20enable_sort%3Doff%20-c%20enable_seqscan%3Doff", params.url);
        let indexed = PostgresParams { url, index: hnsw, ..params.clone() };
        // A gallery beside it, whose vectors are shorter: its rows are no part of the index.
        let beside = create(&PostgresParams { gallery: "beside".into(), ..params.clone() }).unwrap();
        beside.enroll(subject("Ada", 1)).unwrap();
        if is_partitioned {
            Sql::connect(&params.url).execute(partitions_sql());
        }
        let gallery = PostgresGallery::create(&indexed, Arc::clone(&space)).unwrap();
        let (mut model, mut random) = (Model::default(), Random(17));
        let (centres, subjects) = people(&space, 800, &mut random);
        model.enroll(&gallery, subjects);
        let probes: Vec<_> =
            centres.iter().step_by(20).map(|centre| embedding(&space, random.near(centre, 0.3))).collect();

        let approximate = SearchParams { top_k: 10, mode: SearchMode::Approximate, ..SearchParams::default() };
        let exact = SearchParams { mode: SearchMode::Exact, ..approximate.clone() };
        model.check(&gallery, &probes, &exact, &|_, _| true);
        let recall = |params: &SearchParams, top: usize| {
            let (mut hits, mut all) = (0, 0);
            for (probe, found) in probes.iter().zip(gallery.search(&probes, params).unwrap()) {
                let expected = model.brute_force(probe, params, &|_, _| true);
                let found: Vec<_> = found.iter().map(|c| (c.subject, c.template, c.similarity)).collect();
                assert_eq!(found.len(), params.top_k);
                assert!(found.is_sorted_by(|a, b| a.2 >= b.2));
                hits += expected.iter().take(top).filter(|hit| found.contains(hit)).count();
                all += top;
            }
            hits as f64 / all as f64
        };
        for params in [&approximate, &SearchParams { mode: SearchMode::Auto, ..approximate.clone() }] {
            let (first, ten) = (recall(params, 1), recall(params, 10));
            assert!(first >= 0.99 && ten >= 0.95, "{database}: {first} {ten}");
        }
        let sql = Sql::connect(&params.url);
        // The counters come when the sessions end.
        drop(gallery);
        let gallery = PostgresGallery::open(&indexed).unwrap();
        sql.wait_for(
            "SELECT sum(idx_scan) FROM pg_stat_user_indexes i JOIN pg_am a ON a.amname = 'hnsw' \
                      JOIN pg_class c ON c.oid = i.indexrelid AND c.relam = a.oid HAVING sum(idx_scan) >= 80",
        );

        // A filter that leaves little, and one that leaves nearly nothing: found all the same.
        for team in [3, 37] {
            let mut filter = SubjectFilter::default();
            filter.metadata.insert("team".into(), team.into());
            let params = SearchParams { filter, ..approximate.clone() };
            let found = gallery.search(&probes[..20], &params).unwrap();
            for (probe, found) in probes.iter().zip(found) {
                let best = model.brute_force(probe, &params, &|_, metadata| metadata["team"] == team);
                assert_eq!(found.len(), 10);
                assert_eq!(found[0].subject, best[0].0);
            }
        }
        let few: std::collections::BTreeSet<_> = [5, 6, 7].map(SubjectId).into();
        let filter = SubjectFilter { subjects: Some(few.clone()), ..SubjectFilter::default() };
        model.check(&gallery, &probes, &SearchParams { filter, ..approximate.clone() }, &|id, _| few.contains(&id));
        let least = SearchParams {
            min_similarity: Some(if metric == Metric::Cosine { 0.8 } else { -2.0 }),
            ..approximate.clone()
        };
        model.check(&gallery, &probes, &least, &|_, _| true);

        // In step with removals and enrolments, and opened again.
        for id in (1..=50).map(SubjectId) {
            gallery.remove_subject(id).unwrap();
        }
        let found = gallery.search(&probes[..10], &approximate).unwrap();
        assert!(found.iter().flatten().all(|candidate| candidate.subject > SubjectId(50)));
        drop(gallery);
        let gallery = PostgresGallery::open(&indexed).unwrap();
        gallery.enroll(NewSubject::new("new", vec![probes[0].clone().into()])).unwrap();
        assert_eq!(gallery.search(&probes[..1], &approximate).unwrap()[0][0].name, "new");
        // Without the index the same gallery is searched exactly, and says so.
        gallery.set_index(&PostgresIndex::Exact).unwrap();
        assert!(matches!(gallery.search(&probes, &approximate), Err(Error::InvalidParameter { .. })));
        let error = PostgresGallery::open(&indexed).err().unwrap();
        assert!(matches!(error, Error::InvalidParameter { .. }) && error.to_string().contains("set_index"), "{error}");
        gallery.set_index(&hnsw).unwrap();
        gallery.set_index(&hnsw).unwrap();
        assert_eq!(gallery.search(&probes[..1], &approximate).unwrap()[0][0].name, "new");
        assert_eq!(beside.count().unwrap(), one_subject());
    }
}

#[test]
fn long_vectors_lie_where_a_scan_reads_them() {
    let Some(server) = shared("postgres::long_vectors_lie_where_a_scan_reads_them") else { return };
    let params = server.params("long_vectors");
    let sql = Sql::connect(&params.url);
    let toasted = "SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = 'face.template'::regclass";
    for (dimension, expected) in [(512, "f"), (2500, "t")] {
        let space = space(Metric::Euclidean, dimension);
        let params = PostgresParams { gallery: format!("{dimension} values"), ..params.clone() };
        let index = PostgresIndex::Hnsw(HnswParams::default());
        if dimension > 2000 {
            let refused = PostgresGallery::create(&PostgresParams { index, ..params.clone() }, Arc::clone(&space));
            assert!(matches!(refused, Err(Error::InvalidParameter { .. })));
        }
        let gallery = PostgresGallery::create(&params, Arc::clone(&space)).unwrap();
        let (mut model, mut random) = (Model::default(), Random(3));
        let new = (1..=40).map(|number| {
            let template = NewTemplate {
                source: Some("a/long/path/to/a/photo/of/somebody.jpg".into()),
                ..embedding(&space, random.vector(dimension)).into()
            };
            NewSubject::new(format!("subject {number}"), vec![template])
        });
        model.enroll(&gallery, new.collect());
        let probes = [embedding(&space, random.vector(dimension))];
        model.check(&gallery, &probes, &SearchParams::default(), &|_, _| true);
        assert_eq!(sql.rows(toasted), [expected], "{dimension}");
    }
    let too_long = space(Metric::Cosine, 16_001);
    let refused = PostgresGallery::create(&PostgresParams { gallery: "too long".into(), ..params }, too_long);
    assert!(matches!(refused, Err(Error::InvalidParameter { .. })));
}

#[test]
fn what_was_removed_is_gone_from_the_tables_after_compacting() {
    let Some(server) = own("postgres::what_was_removed_is_gone_from_the_tables_after_compacting") else { return };
    let index = PostgresIndex::Hnsw(HnswParams::default());
    let params = PostgresParams { index, ..server.params("removed") };
    let gallery = create(&params).unwrap();
    gallery.enroll_batch((0..50).map(|number| subject(&format!("P{number}"), number)).collect()).unwrap();
    let secret = subject("Somebody Unforgettable", 12_345);
    let id = gallery.enroll(secret.clone()).unwrap();
    let template = gallery.subject(id).unwrap().templates[0].id;
    let vector = gallery.embedding(template).unwrap();
    let vector: Vec<u8> = vector.vector().iter().flat_map(|value| value.to_le_bytes()).collect();
    let sql = Sql::connect(&params.url);
    sql.execute("CHECKPOINT");
    assert_eq!(server.find_bytes(&vector), (true, true));
    gallery.remove_subject(id).unwrap();
    sql.execute("CHECKPOINT");
    assert!(server.find_bytes(&vector).0, "a removal alone leaves the bytes");
    gallery.compact().unwrap();
    sql.execute("CHECKPOINT");
    // The tables and the graph are rewritten; the write-ahead log still has it, as the manual says.
    assert_eq!(server.find_bytes(&vector), (false, true));
    assert!(!server.find_bytes(secret.name.as_bytes()).0);
    assert_eq!(gallery.count().unwrap().subjects, 50);
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/postgres.md").is_file());
}
