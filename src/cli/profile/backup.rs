//! `arom profile backup`, `restore` and `erasures`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::super::progress::Progress;
use super::{Client, print_json, refused};
use crate::files::{self, Identity};
use crate::grpc::v1::{self, BackUpProfilesRequest, ListErasuresRequest};
use crate::grpc::{sealed, to_json};
use crate::profile::{BackedUp, BackupError, Book, Disk, Erasure, LONGEST_PART, MAGIC, Restoration, Terms};
use crate::visible::visible;

#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// The file to write; "-" for stdout.
    file: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Whoever was erased after the backup was made is in it. Their names are nowhere, but the server noted \
    their hashes:\nsave them with `arom profile erasures --json > erasures.jsonl` now and then, beside the backups, and give \
    that file.\n\n\
    Events that came after the backup are not in it. Record them again, or import them: nothing counts twice.\n\n\
    Examples:\n  arom profile restore monday.backup --profile-store /var/lib/arom\n  \
    arom profile restore monday.backup --profile-store /var/lib/arom --erasures erasures.jsonl"
)]
pub(super) struct RestoreArgs {
    /// The backup; "-" for stdin.
    file: PathBuf,
    /// Folder of the store to make: there may be none yet, or an empty one.
    #[arg(long, value_name = "FOLDER")]
    profile_store: PathBuf,
    /// Erasures to do again, as `arom profile erasures --json` printed them.
    #[arg(long, value_name = "FILE")]
    erasures: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct ErasuresArgs {
    /// Only of this customer: were they forgotten, and when?
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Print one message a line as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn back_up(client: &mut Client, args: &BackupArgs) -> Result<()> {
    if args.file.as_os_str() == "-" {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            bail!("a backup is no text; send it to a file");
        }
        let bytes = receive(client, &mut out, "stdout").await?;
        anstream::eprintln!("{bytes} bytes");
        return Ok(());
    }
    let name = args.file.display();
    if files::leads_nowhere(&args.file) {
        bail!("{name} {}", files::DANGLING);
    }
    if !args.force && args.file.exists() {
        bail!("{name} is there; name another file, or say --force");
    }
    if fs::metadata(&args.file).is_ok_and(|meta| !meta.is_file()) {
        bail!("{name} is no plain file; name another");
    }
    let identity = Identity::at(&args.file);
    if let Some((stream, _)) = files::standard_files().find(|(_, meta)| Some(Identity::of(meta)) == identity)
    {
        bail!("{name} is the file that {stream} is; name another");
    }
    // Under its name there is a whole backup or none.
    let Some(file_name) = args.file.file_name() else { bail!("{name} is no name of a file") };
    let mut partial = file_name.to_owned();
    partial.push(".partial");
    let partial = args.file.with_file_name(partial);
    let cannot = || format!("cannot write {}", partial.display());
    // A backup that was killed left its own; what is of somebody else stays.
    files::is_left_or_free(&partial, |head| head.starts_with(MAGIC)).with_context(cannot)?;
    let mut file = files::create(&partial).with_context(cannot)?;
    let received = receive(client, &mut file, &partial.display().to_string()).await;
    let written = match received {
        Ok(bytes) => file.sync_all().map(|()| bytes).with_context(cannot),
        Err(error) => Err(error),
    };
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(error) => {
            drop(fs::remove_file(&partial));
            return Err(error);
        }
    };
    fs::rename(&partial, &args.file)
        .and_then(|()| files::sync_folder_of(&args.file))
        .with_context(|| format!("cannot write {name}"))?;
    anstream::println!("{name}: {bytes} bytes");
    Ok(())
}

async fn receive(client: &mut Client, out: &mut impl Write, name: &str) -> Result<u64> {
    let answer = client.back_up_profiles(BackUpProfilesRequest {}).await;
    let mut pieces = answer.map_err(|status| refused(&status))?.into_inner();
    let (progress, mut bytes) = (Progress::of(None, "bytes"), 0);
    while let Some(piece) = pieces.message().await.map_err(|status| refused(&status))? {
        out.write_all(&piece.data).with_context(|| format!("cannot write {name}"))?;
        progress.advance(piece.data.len());
        bytes += u64::try_from(piece.data.len()).unwrap_or(0);
    }
    out.flush().with_context(|| format!("cannot write {name}"))?;
    progress.finish();
    Ok(bytes)
}

pub(super) fn restore(args: &RestoreArgs) -> Result<()> {
    let (name, store) = (args.file.display(), args.profile_store.display());
    let erasures = args.erasures.as_deref().map(read_erasures).transpose()?.unwrap_or_default();
    let is_new = !args.profile_store.exists();
    let cannot = || format!("cannot write {store}");
    files::create_folder(&args.profile_store).with_context(cannot)?;
    // In the folder itself, which may be all that there is of its disk.
    let partial = args.profile_store.join("restoring");
    for entry in fs::read_dir(&args.profile_store).with_context(|| format!("cannot read {store}"))? {
        if entry.with_context(|| format!("cannot read {store}"))?.path() != partial {
            bail!(
                "{store} is not empty; move what is there away, or name another folder with --profile-store"
            );
        }
    }
    if partial.exists() {
        refuse_foreign(&partial)?;
        fs::remove_dir_all(&partial).with_context(cannot)?;
    }
    let restored = || -> Result<(BackedUp, usize)> {
        let file: Box<dyn Read> = if args.file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&args.file)?)
        };
        let done = fill(&partial, file, &erasures)?;
        Disk::install(&partial, &args.profile_store)?;
        Ok(done)
    };
    let restored = restored().with_context(|| format!("cannot restore {name}"));
    drop(fs::remove_dir_all(&partial));
    if restored.is_err() && is_new {
        drop(fs::remove_dir(&args.profile_store));
    }
    let (BackedUp { time, rows }, erased) = restored?;
    anstream::println!("{store}: {rows} rows, as of {time}");
    if args.erasures.is_some() {
        anstream::println!("erased again: {erased} customers of {} erasures", erasures.len());
        if let Some(newest) = erasures.iter().map(|erasure| erasure.time).max() {
            anstream::println!(
                "the newest of them is of {newest}; erase again by hand who was erased after it"
            );
        }
    } else {
        anstream::println!("whoever was erased after that is in it; see arom profile restore --help");
    }
    Ok(())
}

/// Refuses a folder with other files than those of a store that a restore was killed at.
fn refuse_foreign(partial: &Path) -> Result<()> {
    let name = partial.display();
    for entry in fs::read_dir(partial).with_context(|| format!("cannot read {name}"))? {
        let entry = entry.with_context(|| format!("cannot read {name}"))?;
        if !Disk::has_file(&entry.file_name()) {
            bail!("{name} {}", files::IN_THE_WAY);
        }
    }
    Ok(())
}

/// Makes a store out of a backup.
fn fill(folder: &Path, file: impl Read, erasures: &[Erasure]) -> Result<(BackedUp, usize)> {
    let disk = Disk::open(folder)?;
    let mut file = BufReader::new(file);
    let cannot = "cannot read it";
    let mut magic = Vec::new();
    file.by_ref().take(u64::try_from(MAGIC.len())?).read_to_end(&mut magic).context(cannot)?;
    if magic != MAGIC {
        return Err(BackupError::Foreign.into());
    }
    let (progress, mut restoration) = (Progress::of(None, "bytes"), Restoration::new(&disk));
    while !file.fill_buf().context(cannot)?.is_empty() {
        let mut length = [0; 4];
        let mut frame = Vec::new();
        let cut = |error: io::Error| {
            let ends = error.kind() == ErrorKind::UnexpectedEof;
            if ends { anyhow!(BackupError::CutOff) } else { anyhow!(error).context(cannot) }
        };
        file.read_exact(&mut length).map_err(cut)?;
        let length = u32::from_be_bytes(length);
        if usize::try_from(length)? > LONGEST_PART {
            return Err(BackupError::Foreign.into());
        }
        let read = file.by_ref().take(length.into()).read_to_end(&mut frame).map_err(cut)?;
        if read < usize::try_from(length)? {
            return Err(BackupError::CutOff.into());
        }
        restoration.take(&frame)?;
        progress.advance(read);
    }
    let mut mark = [0; 16];
    getrandom::fill(&mut mark).map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
    let done = restoration.finish(mark)?;
    let book = Book::open_existing(disk, Terms::default())?;
    let erased = book.erase_again(erasures)?;
    progress.finish();
    Ok((done, erased))
}

/// A line of an erasure that is longer is none.
const ERASURE_BYTES: u64 = 4 << 10;

/// A report of erasures that is larger is none: it has those of a million customers.
const ERASURES_BYTES: u64 = 256 << 20;

fn read_erasures(path: &Path) -> Result<Vec<Erasure>> {
    let name = path.display();
    let cannot = || format!("cannot read {name}");
    let mut file = BufReader::new(File::open(path).with_context(cannot)?);
    let (mut erasures, mut bytes) = (Vec::new(), 0);
    for number in 1.. {
        let mut line = Vec::new();
        let read = file.by_ref().take(ERASURE_BYTES + 1).read_until(b'\n', &mut line).with_context(cannot)?;
        bytes += read as u64;
        if bytes > ERASURES_BYTES {
            bail!("{name} has more than {} MiB, the most of a report of erasures", ERASURES_BYTES >> 20);
        }
        if line.is_empty() {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let erasure = (read as u64 <= ERASURE_BYTES).then_some(&line);
        let erasure = erasure.and_then(|line| serde_json::from_slice(line).ok()).and_then(sealed::erasure);
        erasures.push(erasure.with_context(|| {
            format!("{name}, line {number}: is no erasure as `arom profile erasures --json` prints them")
        })?);
    }
    Ok(erasures)
}

pub(super) async fn erasures(client: &mut Client, args: &ErasuresArgs) -> Result<()> {
    if !args.json {
        anstream::println!("{:<26} {:<32} {:>8}  from brands", "when", "customer, hashed", "events");
    }
    let mut request = ListErasuresRequest {
        customer_id: args.customer.clone().unwrap_or_default(),
        page_size: 100,
        ..ListErasuresRequest::default()
    };
    loop {
        let page =
            client.list_erasures(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
        for erasure in &page.erasures {
            if args.json {
                print_json("Erasure", erasure)?;
            } else {
                anstream::println!("{}", visible(&line(erasure)));
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(());
        }
    }
}

fn line(erasure: &v1::Erasure) -> String {
    let v1::Erasure { subject_hash, event_count, erased_from_brands, .. } = erasure;
    let message = to_json("Erasure", erasure);
    let time = message.get("erase_time").and_then(serde_json::Value::as_str).unwrap_or_default();
    let brands = if *erased_from_brands { "yes" } else { "no" };
    format!("{time:<26} {subject_hash:<32} {event_count:>8}  {brands}")
}
