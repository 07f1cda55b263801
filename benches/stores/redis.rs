//! Redis with `appendfsync always`: a hash for each key with the counters of its tiles as fields, as a team would do it that
//! wants windows at read time. One script for each event makes it happen once, and a pipeline carries many.
//!
//! It does less than Arom: no decayed sums, no retraction, nothing expires but the ids.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, Pipeline, Script};

use super::{Event, Store, free_port, patiently};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// KEYS: the event's, three hashes, the customer's last events. ARGV: label, channel, score, its square, time, then the tiles.
const RECORD: &str = r"
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', 7776000) then return 0 end
for i = 2, 4 do
  for j = 6, #ARGV do
    local tile = ARGV[j]
    redis.call('HINCRBY', KEYS[i], tile .. ARGV[1], 1)
    redis.call('HINCRBY', KEYS[i], tile .. ARGV[2], 1)
    redis.call('HINCRBY', KEYS[i], tile .. 's', ARGV[3])
    redis.call('HINCRBY', KEYS[i], tile .. 'q', ARGV[4])
  end
end
redis.call('ZADD', KEYS[5], ARGV[5], KEYS[1] .. ARGV[1] .. ':' .. ARGV[3])
return 1";

pub struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

#[derive(Clone)]
pub struct Redis {
    connection: MultiplexedConnection,
    script: Script,
    now: i64,
}

impl Redis {
    /// Nothing if it is not installed.
    pub fn serve(folder: &Path) -> Option<Server> {
        let port = free_port();
        Some(Server { child: start(folder, port)?, port, folder: folder.to_owned() })
    }

    pub async fn connect(server: &Server, now: i64) -> Self {
        let client = Client::open(format!("redis://127.0.0.1:{}", server.port)).expect("an address");
        let connection = patiently(async || {
            // A pipeline may wait for a rewrite or for the disk.
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            redis::cmd("PING").exec_async(&mut connection).await.map(|()| connection)
        })
        .await;
        let script = Script::new(RECORD);
        let mut loading = connection.clone();
        script.load_async(&mut loading).await.expect("a script");
        Self { connection, script, now }
    }
}

fn start(folder: &Path, port: u16) -> Option<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(folder)
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        // A rewrite of the log would take a core away from it.
        .args(["--auto-aof-rewrite-percentage", "0"])
        .stdout(Stdio::null())
        .spawn()
        .ok()
}

impl Server {
    /// Kills it and starts it again on what is on the disk.
    pub fn crash(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
        self.child = start(&self.folder, self.port).expect("it was there before");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

impl Redis {
    fn add(&self, pipeline: &mut Pipeline, event: &Event) {
        let mut call = self.script.prepare_invoke();
        call.key(format!("e:{}", event.id));
        call.key(format!("c:{}", event.customer));
        call.key(format!("b:{}", event.brand));
        call.key(format!("c:{}:b:{}", event.customer, event.brand));
        call.key(format!("l:{}", event.customer));
        let score = i64::from(event.score);
        call.arg(event.label)
            .arg(4 + event.channel)
            .arg(score)
            .arg(score * score)
            .arg(event.millis)
            .arg("l:");
        let age = self.now - event.millis;
        for (kind, length, kept) in [("d", DAY, 90 * DAY), ("h", HOUR, 48 * HOUR), ("m", MINUTE, HOUR)] {
            if age < kept {
                call.arg(format!("{kind}{}:", event.millis / length));
            }
        }
        pipeline.invoke_script(&call);
    }

    /// The windows of a hash: here their sums alone are worked out.
    fn windows(&self, fields: Vec<(String, i64)>) -> u64 {
        let mut windows = [[0_i64; 10]; 6];
        for (field, value) in fields {
            let (tile, what) = field.split_once(':').expect("a field");
            let what = match what {
                "s" => 8,
                "q" => 9,
                label => label.parse().expect("a number"),
            };
            let (kind, number) = tile.split_at(1);
            let within = |length: i64, tiles: i64| {
                number.parse::<i64>().expect("a number") >= self.now / length - tiles
            };
            let counts = match kind {
                "l" => [false, false, false, false, false, true],
                "m" => [within(MINUTE, 60), false, false, false, false, false],
                "h" => [false, within(HOUR, 24), false, false, false, false],
                _ => [false, false, within(DAY, 7), within(DAY, 30), within(DAY, 90), false],
            };
            for (window, counts) in windows.iter_mut().zip(counts) {
                window[what] += if counts { value } else { 0 };
            }
        }
        let [.., lifetime] = windows;
        lifetime.iter().take(4).sum::<i64>().try_into().expect("a count")
    }
}

impl Store for Redis {
    async fn record(&self, events: Vec<Event>) -> u64 {
        let mut pipeline = Pipeline::new();
        events.iter().for_each(|event| self.add(&mut pipeline, event));
        let new: Vec<u64> = pipeline.query_async(&mut self.connection.clone()).await.expect("recorded");
        new.iter().sum()
    }

    async fn read(&self, customers: Vec<String>) -> u64 {
        let mut pipeline = Pipeline::new();
        for customer in &customers {
            pipeline.hgetall(format!("c:{customer}")).zrevrange(format!("l:{customer}"), 0, 3);
        }
        let answer: Vec<redis::Value> =
            pipeline.query_async(&mut self.connection.clone()).await.expect("an answer");
        let hashes = answer.into_iter().step_by(2);
        hashes.map(|hash| self.windows(redis::from_redis_value(hash).expect("a hash"))).sum()
    }

    async fn brand(&self, brand: String) -> u64 {
        let fields = self.connection.clone().hgetall(format!("b:{brand}")).await.expect("an answer");
        self.windows(fields)
    }
}
