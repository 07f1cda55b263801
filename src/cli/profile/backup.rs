//! `arom profile backup` and `restore`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::super::progress::Progress;
use super::{Client, erasures, refused, whole_file};
use crate::config::Config;
use crate::files;
use crate::grpc::v1::BackUpProfilesRequest;
use crate::profile::{BackedUp, BackupError, Book, Disk, Erasure, LONGEST_PART, MAGIC, Restoration, Terms};

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
    after_help = "A customer who was erased after the backup was made is in it. Their names are nowhere, but the server noted \
    their hashes:\nsave them with `arom profile erasures --out erasures.jsonl` after each erasure, or every hour, beside the \
    backups, and give that file.\n\n\
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
    /// Erasures to do again, as `arom profile erasures --out` wrote them.
    #[arg(long, value_name = "FILE")]
    erasures: Option<PathBuf>,
}

/// Refuses a file that a backup may not replace, before a server is asked.
///
/// # Errors
///
/// Names the file and what it is.
pub(super) fn may_write(args: &BackupArgs, config: &Config) -> Result<()> {
    if args.file.as_os_str() == "-" { Ok(()) } else { whole_file::may_write(&args.file, config) }
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
    if !args.force && args.file.exists() {
        bail!("{name} is there; name another file, or say --force");
    }
    // A backup that was killed left its own; what is of somebody else stays.
    let is_backup = |head: &[u8]| head.starts_with(MAGIC);
    let write = async |file: &mut File, partial: &str| receive(client, file, partial).await;
    let bytes = whole_file::write(&args.file, is_backup, write).await?;
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
    let erasures = args.erasures.as_deref().map(erasures::read).transpose()?.unwrap_or_default();
    let is_new = !args.profile_store.exists();
    let cannot = || format!("cannot write {store}");
    files::create_folder(&args.profile_store).with_context(cannot)?;
    // In the folder itself, which may be all that there is of its disk.
    let partial = Disk::restoring(&args.profile_store);
    for entry in fs::read_dir(&args.profile_store).with_context(|| format!("cannot read {store}"))? {
        if entry.with_context(|| format!("cannot read {store}"))?.path() != partial {
            bail!(
                "{store} is not empty; move what is there away, or name another folder with --profile-store"
            );
        }
    }
    if partial.exists() {
        refuse_foreign(&partial)?;
        Disk::is_free(&partial)?;
        fs::remove_dir_all(&partial).with_context(cannot)?;
    }
    // It has nothing of somebody else's.
    files::tighten_alone(&args.profile_store).with_context(cannot)?;
    let restored = || -> Result<(BackedUp, usize)> {
        let file: Box<dyn Read> = if args.file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&args.file)?)
        };
        let done = fill(&partial, file, &erasures)?;
        files::give_to_owner_of(&args.profile_store, &partial).with_context(cannot)?;
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
        if erased == 0 {
            anstream::eprintln!("warning: {}", nobody_erased(&erasures));
        }
        if let Some(newest) = erasures.iter().map(|erasure| erasure.time).max() {
            anstream::println!(
                "the newest of them is of {newest}; erase again by hand each customer who was erased after it"
            );
        }
    } else {
        anstream::println!("customers who were erased after that are in it; see arom profile restore --help");
    }
    Ok(())
}

/// What a person is to check where a report took nobody out.
fn nobody_erased(erasures: &[Erasure]) -> &'static str {
    if erasures.is_empty() {
        "the report has no erasures: is it the right file, and was it written to its end?"
    } else {
        "no customer of the report is in this backup: is it the report of this store?"
    }
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
