//! What leaves the machine, who may read what is written, and what is printed of secrets.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{Process, arom, repository, run, run_command, stderr, stdout, until};

/// A chat, a dump and events, in a folder of their own.
fn inputs(folder: &Path) {
    let dump = "text,rating,brand,customer,time\nอร่อยมาก ร้านนี้ดีจริง,5,somtam,U-1,2026-11-20T09:30:00+07:00\n\
        รอนานมาก บริการแย่,1,somtam,U-2,2026-11-20T10:30:00+07:00\n";
    fs::write(folder.join("dump.csv"), dump).expect("written");
    fs::write(folder.join("labelled.jsonl"), "{\"text\":\"อร่อยมาก\",\"label\":\"positive\"}\n")
        .expect("written");
    let now = jiff::Timestamp::now();
    let event = format!(
        "{{\"event_id\":\"p-1\",\"time\":\"{now}\",\"customer\":\"U-1\",\"brand\":\"somtam\",\"text\":\"อร่อยมาก\"}}\n"
    );
    fs::write(folder.join("events.jsonl"), event).expect("written");
    fs::write(folder.join("secret"), "0123456789abcdef0123456789abcdef").expect("written");
}

#[cfg(target_os = "linux")]
mod traced {
    //! Commands under strace: the kernel says what they did.

    use std::sync::OnceLock;

    use super::*;

    /// System calls that open sockets or change files. A `?` stands before those that not every processor has.
    const CALLS: &str = "trace=%network,openat,?open,?creat,?mkdir,mkdirat,?rename,?renameat,renameat2,?unlink,\
        unlinkat,?link,linkat,?symlink,symlinkat,truncate,?mknod,mknodat";

    #[expect(clippy::disallowed_methods, reason = "a test asks where it runs")]
    fn variable(name: &str) -> Option<std::ffi::OsString> {
        std::env::var_os(name)
    }

    /// Whether strace works here. It is installed where that is possible; where it is not, this says so, and fails where it
    /// must not happen: in CI.
    fn works() -> bool {
        static WORKS: OnceLock<bool> = OnceLock::new();
        *WORKS.get_or_init(|| {
            let tried = || {
                let tried = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
                tried.is_ok_and(|tried| tried.status.success())
            };
            if tried() {
                return true;
            }
            let install = "apt-get install -y --no-install-recommends strace || \
                { apt-get update && apt-get install -y --no-install-recommends strace; }";
            let installed = Command::new("sh").args(["-c", install]).output();
            if installed.is_ok_and(|installed| installed.status.success()) && tried() {
                return true;
            }
            assert!(variable("CI").is_none(), "CI needs strace, and the right to trace processes");
            // Not by a macro, whose output cargo keeps to itself.
            let text = "\n*** SKIPPED: strace does not work here, so nothing shows that arom sends nothing. \
                Install strace. ***\n";
            std::io::stderr().write_all(text.as_bytes()).expect("stderr");
            false
        })
    }

    /// A command with a home, a working folder and a folder for temporary files that nobody has used.
    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            for name in ["home", "tmp", "work"] {
                fs::create_dir(root.path().join(name)).expect("created");
            }
            inputs(&root.path().join("work"));
            Self { root }
        }

        fn path(&self, name: &str) -> String {
            self.root.path().join(name).display().to_string()
        }

        /// strace before `arom`, without the variable that cargo sets for tests.
        fn command(&self) -> Command {
            let mut command = Command::new("strace");
            command
                .args(["-f", "-qq", "-s", "4096", "-o", &self.path("trace"), "-e", CALLS])
                .arg(env!("CARGO_BIN_EXE_arom"))
                .current_dir(self.path("work"))
                .env_clear()
                .env("PATH", variable("PATH").unwrap_or_default())
                .env("HOME", self.path("home"))
                .env("TMPDIR", self.path("tmp"));
            command
        }

        /// What was done that `allowed` does not name: a file changed elsewhere, a socket to anything else.
        fn faults(&self, allowed: &Allowed) -> Vec<String> {
            let trace = fs::read_to_string(self.path("trace")).expect("a trace");
            assert!(!trace.is_empty() || allowed.nothing_at_all, "nothing was traced");
            trace.lines().filter(|line| self.is_fault(line, allowed)).map(str::to_owned).collect()
        }

        fn is_fault(&self, line: &str, allowed: &Allowed) -> bool {
            // "PID call(arguments…", or the second half of a call that another one interrupted.
            let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
            let Some((name, arguments)) = call.split_once('(') else { return false };
            if call.starts_with("<...") || call.starts_with("---") || call.starts_with("+++") {
                return false;
            }
            let opens = ["open", "openat"].contains(&name);
            if opens
                && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag))
            {
                return false;
            }
            let files = ["open", "openat", "creat", "truncate"].contains(&name)
                || ["mk", "rename", "unlink", "link", "symlink"].iter().any(|kind| name.starts_with(kind));
            if files {
                let paths: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
                let at_folder = name.contains("at") && !arguments.starts_with("AT_FDCWD");
                return at_folder || !paths.iter().all(|path| self.may_change(path, allowed));
            }
            match name {
                "socketpair" => false,
                "socket" => {
                    !allowed.network
                        || !arguments.contains("SOCK_STREAM")
                        || !arguments.starts_with("AF_INET,")
                }
                "connect" => !allowed.peers.iter().any(|port| arguments.contains(&peer(*port))),
                "bind" => !(allowed.network && arguments.contains("inet_addr(\"127.0.0.1\")")),
                // The name of a peer is given to datagrams alone.
                "sendto" | "sendmsg" | "sendmmsg" => arguments.contains("sa_family"),
                _ => !allowed.network && arguments.contains("AF_INET"),
            }
        }

        fn may_change(&self, path: &str, allowed: &Allowed) -> bool {
            let whole = Path::new(&self.path("work")).join(path);
            let own = allowed.files.iter().any(|name| whole.starts_with(self.path("work") + "/" + name));
            own || ["/dev/null", "/dev/tty"].contains(&path)
        }
    }

    fn peer(port: u16) -> String {
        format!("sin_port=htons({port}), sin_addr=inet_addr(\"127.0.0.1\")")
    }

    /// What a command may do.
    #[derive(Default)]
    struct Allowed {
        /// Files and folders in the working folder.
        files: Vec<&'static str>,
        network: bool,
        /// Ports of this machine that it may connect to.
        peers: Vec<u16>,
        /// It may end before it does anything that is traced.
        nothing_at_all: bool,
    }

    fn is_empty(folder: &str) -> bool {
        fs::read_dir(folder).expect("a folder").next().is_none()
    }

    #[test]
    fn no_command_opens_a_socket_or_writes_anything_that_was_not_asked_for() {
        if !works() {
            return;
        }
        let chat = repository().join("examples/chats/parcel.txt").display().to_string();
        let behaviour = repository().join("tests/behaviour/pairs.jsonl").display().to_string();
        let rows: [(&[&str], &[&'static str]); 14] = [
            (&["score", "อร่อยมาก"], &[]),
            (&["score", "--json", "--input", "labelled.jsonl"], &[]),
            (&["normalize"], &[]),
            (&["targets", "อร่อยแต่แพง"], &[]),
            (&["evaluate", "labelled.jsonl"], &[]),
            (&["evaluate", "--drift", "labelled.jsonl"], &[]),
            (&["evaluate", "--behaviour", &behaviour], &[]),
            (&["chat", &chat, "--html", "page.html"], &["page.html", "page.html.next"]),
            (
                &[
                    "batch",
                    "dump.csv",
                    "--out",
                    "out.jsonl",
                    "--report",
                    "page.html",
                    "--report-json",
                    "page.json",
                ],
                &[
                    "out.jsonl",
                    "out.jsonl.checkpoint",
                    "out.jsonl.checkpoint.next",
                    "page.html",
                    "page.html.next",
                    "page.json",
                    "page.json.next",
                    "out.jsonl.rejects.jsonl",
                ],
            ),
            (
                &["batch", "-", "--out", "out.parquet", "--record", "--profile-store", "store"],
                &[
                    "out.parquet",
                    "out.parquet.checkpoint",
                    "out.parquet.checkpoint.next",
                    "out.parquet.next",
                    "out.parquet.stdin",
                    "out.parquet.partial.jsonl",
                    "out.parquet.rejects.jsonl",
                    "store",
                ],
            ),
            (&["model", "show"], &[]),
            (&["config", "show"], &[]),
            (&["config", "check"], &[]),
            (&["--help"], &[]),
        ];
        for (arguments, files) in rows {
            let place = Place::new();
            let stdin = if arguments.contains(&"-") {
                fs::read_to_string(place.path("work/dump.csv")).expect("there")
            } else {
                "อร่อยมาก\n".to_owned()
            };
            let output = run_command(place.command().args(arguments), &stdin);
            assert!([Some(0), Some(2)].contains(&output.status.code()), "{arguments:?}: {}", stderr(&output));
            let allowed = Allowed { files: files.to_vec(), nothing_at_all: true, ..Allowed::default() };
            let faults = place.faults(&allowed);
            assert!(faults.is_empty(), "{arguments:?} did what nobody asked for:\n{}", faults.join("\n"));
            assert!(is_empty(&place.path("home")) && is_empty(&place.path("tmp")), "{arguments:?}");
        }
    }

    #[test]
    fn a_server_speaks_to_those_that_its_settings_name_and_to_nobody_else() {
        if !works() {
            return;
        }
        let place = Place::new();
        let receiver = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = receiver.local_addr().expect("bound").port();
        // It takes the connection and says nothing: the event goes to the dead letters.
        std::thread::spawn(move || receiver.incoming().map_while(Result::ok).for_each(drop));
        let url = format!("http://127.0.0.1:{port}/hook");
        let mut server = Process::run(
            place.command(),
            &[
                "--http-listen",
                "127.0.0.1:0",
                "--profile-store",
                "store",
                "--sink-jsonl-folder",
                "sink",
                "--sink-webhook-url",
                &url,
                "--sink-webhook-secret-file",
                "secret",
                "--sink-webhook-attempts",
                "1",
            ],
        );
        server.wait_for("ready");
        let events = place.path("work/events.jsonl");
        stdout(&run(&["profile", "import", &events, "--server", &server.address], ""));
        let letters = place.root.path().join("work/store/webhook-dead-letters.jsonl");
        until_blocking(|| letters.exists());
        // The signal goes to arom itself: strace would pass it on after it had let go of it.
        server.stop_child_of_tracer();
        let faults = place.faults(&Allowed {
            files: vec!["store", "sink"],
            network: true,
            peers: vec![port],
            nothing_at_all: false,
        });
        assert!(faults.is_empty(), "the server did what nobody asked for:\n{}", faults.join("\n"));
        assert!(is_empty(&place.path("home")) && is_empty(&place.path("tmp")));
    }

    #[test]
    fn the_program_that_starts_again_is_the_same_to_whoever_started_it() {
        let name = env!("CARGO_BIN_EXE_arom");
        let fresh = || {
            let mut command = Command::new("sh");
            command.env_remove("ORT_DISABLE_TELEMETRY");
            command
        };
        // Arguments with spaces, nothing in them and bytes that are no UTF-8; stdin; the exit code.
        let scored = run_command(fresh().args(["-c", "exec \"$0\" score --json '' 'ดี มาก'", name]), "");
        assert_eq!(stdout(&scored).lines().count(), 2);
        let normalized = run_command(fresh().args(["-c", "exec \"$0\" normalize", name]), "ดีมากกกก\n");
        assert_eq!(stdout(&normalized).lines().count(), 1);
        let refused =
            run_command(fresh().args(["-c", "exec \"$0\" batch $(printf '\\377') --out x.jsonl", name]), "");
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        // A value that leaves telemetry on is no reason to leave it on.
        for value in ["0", "", "false"] {
            let output = run_command(arom().args(["score", "ดี"]).env("ORT_DISABLE_TELEMETRY", value), "");
            assert!(output.status.success(), "{}", stderr(&output));
        }
        // Its process has the id and the name that it was started with, and ignores what it was told to.
        let script = "trap '' HUP; echo $$ >&2; exec \"$0\" serve --listen 127.0.0.1:0 --log-format json";
        let mut command = fresh();
        command.args(["-c", script, name]);
        let server = Process::run_plain(command);
        let id = server.child.id();
        let comm = fs::read_to_string(format!("/proc/{id}/comm")).expect("it runs");
        assert_eq!(comm.trim(), "arom");
        let environment = fs::read(format!("/proc/{id}/environ")).expect("it runs");
        let has = |wanted: &str| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes());
        assert!(has("ORT_DISABLE_TELEMETRY=1"));
        assert!(has("GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1048576"), "large blocks are given back");
        server.stop();
        // Where it cannot start again, it says what to do, and does what needs no runtime.
        let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
        if let Some(loader) = loaders.iter().find(|loader| Path::new(loader).exists()) {
            let through = |arguments: &[&str]| {
                let mut command = Command::new(loader);
                command.env_remove("ORT_DISABLE_TELEMETRY").arg(name).args(arguments);
                run_command(&mut command, "")
            };
            let refused = through(&["score", "ดี"]);
            assert_eq!(refused.status.code(), Some(1));
            assert!(stderr(&refused).contains("set ORT_DISABLE_TELEMETRY=1"), "{}", stderr(&refused));
            assert!(through(&["config", "show"]).status.success());
        }
    }

    fn until_blocking(so: impl FnMut() -> bool) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(until(so));
    }
}

/// Not a test: what a program that embeds Arom would do, in a process whose environment is the caller's.
#[test]
#[ignore = "run by the test below"]
fn embedded() {
    match arom::model::Runtime::load(None) {
        Ok(_) => println!("loaded"),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn a_program_that_embeds_arom_loads_no_runtime_that_would_send_telemetry() {
    for (value, outcome) in [(None, "refused: "), (Some("0"), "refused: "), (Some("1"), "loaded")] {
        let mut command = Command::new(std::env::current_exe().expect("a test"));
        command.args(["--exact", "privacy::embedded", "--ignored", "--nocapture"]);
        command.env_remove("ORT_DISABLE_TELEMETRY").envs(value.map(|value| ("ORT_DISABLE_TELEMETRY", value)));
        let said = stdout(&run_command(&mut command, ""));
        assert!(said.contains(outcome), "{value:?}: {said}");
        if value.is_none() {
            assert!(said.contains("ORT_DISABLE_TELEMETRY=1"), "it says what to set: {said}");
            assert!(said.contains("restart_without_telemetry"), "it says what to call: {said}");
        }
    }
}

/// Every file and folder below one, with its mode.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let meta = fs::symlink_metadata(&path).expect("it is there");
        found.push((path.display().to_string(), meta.permissions().mode() & 0o7777));
        if meta.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}

fn assert_private(folder: &Path, names: &[&str]) {
    let found = modes(folder);
    for (path, mode) in &found {
        let private = if Path::new(path).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(*mode, private, "{path} has the mode {mode:o}");
    }
    for name in names {
        assert!(found.iter().any(|(path, _)| path.ends_with(name)), "{name} is not among {found:?}");
    }
}

/// `arom` under a umask that keeps nothing back.
fn open_handed() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_arom")]);
    command
}

#[test]
fn what_commands_write_is_for_their_user_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (given, made) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&given).expect("created");
    fs::create_dir(&made).expect("created");
    inputs(&given);
    fs::write(given.join("broken.csv"), "text,rating\nดี,5\nดี,5,6,7\n").expect("written");
    let chat = repository().join("examples/chats/parcel.txt");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ran = |arguments: &[&str], stdin: &str, code: i32| {
        let output = run_command(open_handed().args(arguments).current_dir(&made), stdin);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    };
    let dump = path("in/dump.csv");
    ran(&["batch", &dump, "--out", "a.jsonl", "--report", "r.html", "--report-json", "r.json"], "", 0);
    ran(&["batch", &dump, "--out", "b.csv.gz"], "", 0);
    ran(&["batch", &dump, "--out", "c.parquet", "--record", "--profile-store", "store"], "", 0);
    ran(&["batch", &path("in/broken.csv"), "--out", "d.jsonl"], "", 3);
    // Stopped in its middle: the checkpoint, the spool and the rows stay.
    ran(&["batch", &path("in/broken.csv"), "--out", "e.csv", "--max-errors", "0"], "", 1);
    ran(&["chat", chat.to_str().expect("UTF-8"), "--html", "page.html"], "", 0);
    assert_private(
        &made,
        &[
            "a.jsonl",
            "r.html",
            "r.json",
            "b.csv.gz",
            "c.parquet",
            "store/high-water",
            "d.jsonl.rejects.jsonl",
            "e.csv",
            "e.csv.checkpoint",
            "page.html",
        ],
    );
    // What was there before is closed when it is written again.
    for name in ["a.jsonl", "page.html"] {
        fs::set_permissions(made.join(name), fs::Permissions::from_mode(0o666)).expect("loosened");
    }
    ran(&["batch", &dump, "--out", "a.jsonl", "--overwrite"], "", 0);
    ran(&["chat", chat.to_str().expect("UTF-8"), "--html", "page.html", "--overwrite"], "", 0);
    assert_private(&made, &[]);
}

#[test]
fn what_a_server_keeps_is_for_its_user_alone_also_where_it_was_not() {
    let folder = tempfile::tempdir().expect("a folder");
    inputs(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    // Nothing listens there: what is posted goes to the dead letters.
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let url = format!("http://{closed}/hook?token=T0kenT0ken");
    let flags = [
        "--profile-store",
        &path("kept/store"),
        "--sink-jsonl-folder",
        &path("kept/sink"),
        "--sink-webhook-secret-file",
        &path("secret"),
        "--sink-webhook-url",
        &url,
        "--sink-webhook-attempts",
        "1",
        "--log",
        "info,ureq=debug,ureq_proto=debug",
    ];
    let serve = |event: &str| {
        let mut server = Process::run(open_handed(), &flags);
        server.wait_for("ready");
        fs::write(path("event.jsonl"), event).expect("written");
        stdout(&run(&["profile", "import", &path("event.jsonl"), "--server", &server.address], ""));
        let letters = folder.path().join("kept/store/webhook-dead-letters.jsonl");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(until(|| letters.exists()));
        let output = run_command(
            open_handed().args([
                "profile",
                "backup",
                "--force",
                &path("kept/backup"),
                "--server",
                &server.address,
            ]),
            "",
        );
        stdout(&output);
        server.stop()
    };
    let event = fs::read_to_string(path("events.jsonl")).expect("there");
    let log = serve(&event);
    let letters = fs::read_to_string(path("kept/store/webhook-dead-letters.jsonl")).expect("there");
    for text in [&log, &letters] {
        assert!(!text.contains("T0ken"), "{text}");
    }
    let kept = folder.path().join("kept");
    assert_private(
        &kept,
        &["store/high-water", "sink/profiles.jsonl", "store/webhook-dead-letters.jsonl", "backup"],
    );

    // As an older version left it.
    let loosen = || {
        for (path, mode) in modes(&kept) {
            // Others may look into the folder of the sink, if somebody let them: not into its files.
            fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o055)).expect("loosened");
        }
    };
    loosen();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let ended = run_command(arom().args(["serve", "--listen", &address]).args(flags), "");
    assert!(stderr(&ended).contains("others could read the profile store"), "{}", stderr(&ended));
    loosen();
    serve(&event.replace("p-1", "p-2"));
    fs::set_permissions(kept.join("sink"), fs::Permissions::from_mode(0o700)).expect("tightened");
    assert_private(&kept, &["store/high-water"]);
    let restored = run_command(
        open_handed().args([
            "profile",
            "restore",
            &path("kept/backup"),
            "--profile-store",
            &path("kept/again"),
        ]),
        "",
    );
    stdout(&restored);
    assert_private(&kept, &["again/high-water"]);
}

#[test]
fn a_folder_of_the_system_that_was_named_by_mistake_keeps_its_rights() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("loosened");
    fs::write(folder.path().join("of-others"), "x").expect("written");
    fs::set_permissions(folder.path().join("of-others"), fs::Permissions::from_mode(0o644))
        .expect("loosened");
    let store = folder.path().to_str().expect("UTF-8");
    let mut server = Process::start(&["--profile-store", store]);
    server.wait_for("ready");
    server.stop();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(folder.path()), mode(&folder.path().join("of-others"))), (0o755, 0o644));
    assert_eq!(mode(&folder.path().join("rows")), 0o700);
}

#[test]
fn nothing_prints_the_secrets_of_a_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("secret"), "0123456789abcdef0123456789abcdef").expect("written");
    let url = "https://user:Pa55word@cdp.example/hook?token=T0kenT0ken&signature=S1gned";
    let endpoint = "http://user:Pa55word@127.0.0.1:4317/?key=T0kenT0ken";
    let settings = |webhook: &str| {
        format!(
            "[profile]\nstore = \"store\"\n[sink]\nwebhook_url = {webhook}\nwebhook_secret_file = {:?}\n\
            [trace]\notlp_endpoint = {endpoint:?}\n",
            path("secret")
        )
    };
    let check = |arguments: &[&str], environment: &[(&str, &str)], says: &str| {
        let output = run_command(arom().args(arguments).envs(environment.iter().copied()), "");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        for secret in ["Pa55", "T0ken", "S1gned"] {
            assert!(!said.contains(secret), "{arguments:?} says {said}");
        }
        assert!(said.contains(says), "{arguments:?} says {said}");
    };
    let file = path("arom.toml");
    let variables = [("AROM_SINK_WEBHOOK_URL", url), ("AROM_OTLP_ENDPOINT", endpoint)];
    fs::write(&file, settings(&format!("{url:?}"))).expect("written");
    check(&["config", "show", "--config", &file], &[], "https://***@cdp.example/***");
    check(&["config", "show"], &variables, "needs profile.store");
    check(&["config", "show", "--sink-webhook-url", url], &[], "needs profile.store");
    check(&["serve", "--help"], &variables, "AROM_SINK_WEBHOOK_URL");
    // A line that is no TOML is shown by the library that reads it.
    fs::write(&file, settings(&format!("{url:?} x"))).expect("written");
    check(&["config", "check", "--config", &file], &[], "line 4");
    fs::write(&file, settings(&format!("\"{url}"))).expect("written");
    check(&["config", "check", "--config", &file], &[], "line 4");
    // What cannot be used is named without them.
    let other = url.replace("https", "ftp");
    fs::write(&file, settings(&format!("{other:?}"))).expect("written");
    check(&["config", "check", "--config", &file], &[], "ftp://***@cdp.example");
    check(&["serve", "--config", &file, "--listen", "127.0.0.1:0"], &[], "ftp://***@cdp.example");
    // What was shown is not taken for the URL.
    fs::write(&file, settings("\"https://***@cdp.example/hook\"")).expect("written");
    check(&["config", "check", "--config", &file], &[], "write the whole URL");
    // An argument that clap does not know, and a setting that is no origin.
    check(&["serve", url], &[], "unexpected argument 'https://***@cdp.example/***'");
    check(&["serve", "--web-origins", url], &[], "https://***@cdp.example/***");
    check(&["config", "check", "--web-origins", url], &[], "https://***@cdp.example/***");
    // A token may look like any word.
    for token in ["T0kenaBcdEfgHjkLmnPq", "a;token=T0ken", "k=T0ken", "T0ken.eyJhbGciOi.abc", "T0ken"] {
        let endpoint = format!("https://hooks.example/services/{token}");
        check(&["config", "show", "--otlp-endpoint", &endpoint], &[], "https://hooks.example/***");
    }
    // A server's address is one, too.
    for arguments in [
        vec!["profile", "list", "--server", "http://user:Pa55word@127.0.0.1:1"],
        vec!["health", "http://user:Pa55word@127.0.0.1:1"],
        vec!["profile", "list", "--server", "user:Pa55word@127.0.0.1:1/?token=T0kenT0ken ä"],
    ] {
        check(&arguments, &[], "***@127.0.0.1:1");
    }
}

#[test]
fn no_log_line_has_the_secrets_of_the_webhook() {
    let folder = tempfile::tempdir().expect("a folder");
    inputs(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let receiver = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = receiver.local_addr().expect("bound");
    let posted = std::thread::spawn(move || {
        let (mut stream, _) = receiver.accept().expect("a post");
        let mut head = [0; 1024];
        let count = std::io::Read::read(&mut stream, &mut head).expect("a head");
        String::from_utf8_lossy(&head[..count]).into_owned()
    });
    let url = format!("http://{address}/hook/T0kenT0ken?key=S1gned");
    let flags = [
        "--profile-store",
        &path("store"),
        "--sink-webhook-secret-file",
        &path("secret"),
        "--sink-webhook-url",
        &url,
        "--sink-webhook-attempts",
        "1",
        "--log",
        "info,ureq=trace,ureq_proto=trace",
    ];
    let server = Process::run(arom(), &flags);
    let import = run_command(
        arom().args(["profile", "import", &path("events.jsonl"), "--server", &server.address]),
        "",
    );
    assert!(import.status.success(), "{}", stderr(&import));
    assert!(posted.join().expect("whole").contains("/hook/T0kenT0ken"), "the receiver has the whole of it");
    let logged = server.stop();
    for secret in ["Pa55", "T0ken", "S1gned"] {
        let line = logged.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
