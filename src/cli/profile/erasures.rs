//! `arom profile erasures`, and the report of them that a restore reads.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Client, print_json, refused, whole_file};
use crate::config::Config;
use crate::grpc::v1::{self, ListErasuresRequest};
use crate::grpc::{sealed, to_json};
use crate::profile::Erasure;
use crate::visible::visible;

#[derive(Args, Debug)]
pub(super) struct ErasuresArgs {
    /// Only of this customer: were they forgotten, and when?
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Print one message a line as JSON.
    #[arg(long)]
    json: bool,
    /// Write one message a line as JSON to a file, over an earlier report: all of it or nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "customer"])]
    out: Option<PathBuf>,
    /// Write over an earlier report also if this one has none of its erasures.
    #[arg(long, requires = "out")]
    force: bool,
}

/// A line of an erasure that is longer is none.
const ERASURE_BYTES: u64 = 4 << 10;

/// A report of erasures that is larger is none: it has those of a million customers.
const ERASURES_BYTES: u64 = 256 << 20;

/// The erasures of a report.
///
/// # Errors
///
/// Names the line that is none.
pub(super) fn read(path: &Path) -> Result<Vec<Erasure>> {
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
            format!("{name}, line {number}: is no erasure as `arom profile erasures --json` prints them, or --out writes them")
        })?);
    }
    Ok(erasures)
}

/// Refuses a file that a report may not replace, before a server is asked.
///
/// # Errors
///
/// Names the file and what it is.
pub(super) fn may_write(args: &ErasuresArgs, config: &Config) -> Result<()> {
    args.out.as_deref().map_or(Ok(()), |file| whole_file::may_write(file, config))
}

pub(super) async fn run(client: &mut Client, args: &ErasuresArgs) -> Result<()> {
    if let Some(path) = &args.out {
        let name = path.display();
        let before = if replaces_report(path)? && !args.force { known(path)? } else { HashSet::new() };
        let write = async |file: &mut File, partial: &str| {
            let cannot = || format!("cannot write {partial}");
            let mut lines = BufWriter::new(file);
            let (mut count, mut is_next) = (0_usize, before.is_empty());
            list(client, args, |erasure| {
                count += 1;
                is_next |= before.contains(&erasure.subject_hash);
                let line = format!("{}\n", to_json("Erasure", erasure));
                lines.write_all(line.as_bytes()).with_context(cannot)
            })
            .await?;
            lines.flush().with_context(cannot)?;
            if !is_next && !args.force {
                bail!(
                    "this server knows none of the {} customers of {name}: is it another store, or was its folder away? \
                     Say --force to write over the report all the same",
                    before.len()
                );
            }
            Ok(count)
        };
        let count = whole_file::write(path, is_report, write).await?;
        anstream::println!("{name}: {count} erasures");
        return Ok(());
    }
    if !args.json {
        anstream::println!("{:<26} {:<32} {:>8}  from brands", "when", "customer, hashed", "events");
    }
    list(client, args, |erasure| {
        if args.json {
            return print_json("Erasure", erasure);
        }
        anstream::println!("{}", visible(&line(erasure)));
        Ok(())
    })
    .await
}

/// Whether an earlier report is there. No other file is replaced.
fn replaces_report(path: &Path) -> Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let name = path.display();
    let mut head = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    file.take(64).read_to_end(&mut head).with_context(|| format!("cannot read {name}"))?;
    if !head.is_empty() && !is_report(&head) {
        bail!("{name} is there and is no report of erasures; name another file");
    }
    Ok(true)
}

/// Who is in a report.
fn known(path: &Path) -> Result<HashSet<String>> {
    let hash = |erasure: &Erasure| format!("{:032x}", u128::from_be_bytes(erasure.subject));
    Ok(read(path)?.iter().map(hash).collect())
}

/// Whether a file begins as a report does.
fn is_report(head: &[u8]) -> bool {
    head.starts_with(b"{\"erase_time\":")
}

/// Takes each erasure that is noted, of all pages.
async fn list(
    client: &mut Client,
    args: &ErasuresArgs,
    mut take: impl FnMut(&v1::Erasure) -> Result<()>,
) -> Result<()> {
    let mut request = ListErasuresRequest {
        customer_id: args.customer.clone().unwrap_or_default(),
        page_size: 100,
        ..ListErasuresRequest::default()
    };
    loop {
        let page =
            client.list_erasures(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
        page.erasures.iter().try_for_each(&mut take)?;
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
