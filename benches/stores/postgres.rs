//! PostgreSQL: a row for each event with two indexes, and an aggregate at read.
//!
//! Its settings are those of Debian but for more memory and fewer checkpoints; commits wait for the disk, many share a flush.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tokio_postgres::{Client, NoTls, Statement};

use super::{Event, Store, free_port, patiently};

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS events (id text PRIMARY KEY, customer text NOT NULL, brand text NOT NULL, channel smallint NOT NULL,
  label smallint NOT NULL, score integer NOT NULL, millis bigint NOT NULL);
CREATE INDEX IF NOT EXISTS of_customer ON events (customer, millis);
CREATE INDEX IF NOT EXISTS of_brand ON events (brand, millis);";

const RECORD: &str = "
INSERT INTO events SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::integer[],
  $7::bigint[]) ON CONFLICT (id) DO NOTHING";

const RECORD_ONE: &str = "INSERT INTO events VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";

/// The windows of some keys, by label; `$2` is the present, `$1` the keys.
fn windows(column: &str) -> String {
    let within = |hours: u32| {
        let within = format!("FILTER (WHERE millis >= $2 - {hours}::bigint * 3600000)");
        format!(
            "count(*) {within}, sum(score::bigint) {within}, sum(score::double precision * score) {within}"
        )
    };
    let decayed = |days: u32| {
        let weight =
            format!("power(2.0::double precision, (millis - $2) / ({days} * 86400000.0::double precision))");
        format!("sum({weight}), sum({weight} * score)")
    };
    let windows: Vec<String> = [1, 24, 7 * 24, 30 * 24, 90 * 24].map(within).into();
    let decayed: Vec<String> = [1, 7, 30].map(decayed).into();
    format!(
        "SELECT {column}, label, count(*), sum(score::bigint), sum(score::double precision * score), max(millis), {}, {} \
        FROM events WHERE {column} = ANY($1) GROUP BY {column}, label",
        windows.join(", "),
        decayed.join(", ")
    )
}

pub struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

#[derive(Clone)]
pub struct Postgres {
    client: Arc<Client>,
    record: Statement,
    record_one: Statement,
    customers: Statement,
    brands: Statement,
    now: i64,
}

/// Where Debian puts the programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).max()
}

/// A program of it: it does not run as root.
fn command(program: &str) -> Option<Command> {
    let path = programs()?.join(program);
    if fs::metadata("/proc/self").ok()?.uid() != 0 {
        return Some(Command::new(path));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]).arg(path);
    Some(command)
}

fn start(folder: &Path, port: u16) -> Option<Child> {
    let settings = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", folder.display()),
        "max_connections=100".to_owned(),
        "shared_buffers=1GB".to_owned(),
        "max_wal_size=8GB".to_owned(),
        "synchronous_commit=on".to_owned(),
        "fsync=on".to_owned(),
    ];
    let mut server = command("postgres")?;
    server.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    for setting in settings {
        server.args(["-c", &setting]);
    }
    server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

impl Postgres {
    /// Nothing if it is not installed.
    pub fn serve(folder: &Path) -> Option<Server> {
        programs()?;
        if fs::metadata("/proc/self").ok()?.uid() == 0 {
            let users = fs::read_to_string("/etc/passwd").ok()?;
            let user = users.lines().find(|line| line.starts_with("postgres:"))?;
            let id = user.split(':').nth(2)?.parse().ok()?;
            chown(folder, Some(id), Some(id)).expect("root may");
        }
        let mut init = command("initdb")?;
        init.arg("-D").arg(folder.join("data")).args(["--auth=trust", "--encoding=UTF8", "--locale=C"]);
        let made = init.args(["--username", "arom"]).stdout(Stdio::null()).status().expect("it is there");
        assert!(made.success(), "initdb failed");
        let port = free_port();
        Some(Server { child: start(folder, port)?, port, folder: folder.to_owned() })
    }

    pub async fn connect(server: &Server, now: i64) -> Self {
        let address = format!("host=127.0.0.1 port={} user=arom dbname=postgres", server.port);
        let (client, connection) = patiently(async || tokio_postgres::connect(&address, NoTls).await).await;
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        client.batch_execute(TABLE).await.expect("a table");
        let record = client.prepare(RECORD).await.expect("a statement");
        let record_one = client.prepare(RECORD_ONE).await.expect("a statement");
        let customers = client.prepare(&windows("customer")).await.expect("a statement");
        let brands = client.prepare(&windows("brand")).await.expect("a statement");
        Self { client: Arc::new(client), record, record_one, customers, brands, now }
    }

    async fn windows(&self, statement: &Statement, keys: Vec<String>) -> u64 {
        let rows = self.client.query(statement, &[&keys, &self.now]).await.expect("an answer");
        rows.iter().map(|row| u64::try_from(row.get::<_, i64>(2)).expect("a count")).sum()
    }
}

impl Server {
    /// Kills it and starts it again on what is on the disk.
    pub fn crash(&mut self) {
        self.kill();
        self.child = start(&self.folder, self.port).expect("it was there before");
    }

    /// All of its processes: they hold on to the folder.
    fn kill(&mut self) {
        let list = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        let first = list.lines().next().unwrap_or_default();
        let started = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        let mut kill = Command::new("kill");
        kill.args(["-9", first]).args(started.split_whitespace()).stderr(Stdio::null());
        kill.status().map(|_| ()).unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
        // As long as one of them lives, no other starts on the folder.
        let lives = |id: &&str| {
            let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        while started.split_whitespace().filter(lives).count() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        fs::remove_file(self.folder.join("data/postmaster.pid")).unwrap_or_default();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Store for Postgres {
    async fn record(&self, events: Vec<Event>) -> u64 {
        if let [Event { id, customer, brand, channel, label, score, millis }] = &events[..] {
            let (channel, label) = (i16::from(*channel), i16::from(*label));
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
                [id, customer, brand, &channel, &label, score, millis];
            return self.client.execute(&self.record_one, &values).await.expect("recorded");
        }
        let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        let customers: Vec<&str> = events.iter().map(|event| event.customer.as_str()).collect();
        let brands: Vec<&str> = events.iter().map(|event| event.brand.as_str()).collect();
        let channels: Vec<i16> = events.iter().map(|event| event.channel.into()).collect();
        let labels: Vec<i16> = events.iter().map(|event| event.label.into()).collect();
        let scores: Vec<i32> = events.iter().map(|event| event.score).collect();
        let millis: Vec<i64> = events.iter().map(|event| event.millis).collect();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&ids, &customers, &brands, &channels, &labels, &scores, &millis];
        self.client.execute(&self.record, &values).await.expect("recorded")
    }

    async fn tidy(&self) {
        self.client.batch_execute("VACUUM ANALYZE events").await.expect("done");
    }

    async fn read(&self, customers: Vec<String>) -> u64 {
        self.windows(&self.customers, customers).await
    }

    async fn brand(&self, brand: String) -> u64 {
        self.windows(&self.brands, vec![brand]).await
    }
}
