//! What `arom serve` and `arom config check` both look at before anything begins, so that they refuse the same.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::config::{CommonFlags, Config, ConfigError, ServeFlags};
use crate::profile::Disk;
use crate::telemetry;

/// Refuses settings with which the server could not run; the model bundle is looked at when it is loaded.
///
/// # Errors
///
/// Lists all that is wrong: where traces go, what is logged, the webhook's files, folders that cannot be written to.
pub(super) fn verify(config: &Config) -> Result<(), ConfigError> {
    let mut faults: Vec<String> = telemetry::verify(&config.telemetry).err().into_iter().collect();
    if let Err(ConfigError::Invalid(more)) = config.check_sinks() {
        faults.extend(more);
    }
    if let Some(folder) = config
        .profile_store
        .as_deref()
        .filter(|folder| config.profile_store_must_exist && !Disk::is_at(folder))
    {
        faults.push(no_store(folder));
    }
    for (key, folder) in folders(config) {
        if let Err(error) = writable(&folder) {
            faults.push(format!("{key}: cannot write to {}: {error}", folder.display()));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(faults)) }
}

/// What is said where a store must be and is not.
pub(super) fn no_store(folder: &Path) -> String {
    format!("profile.store: {}: there is no store, and profile.store_must_exist is true", folder.display())
}

/// The settings of a server. Where some are wrong, the error also says what is looked at only after that.
///
/// # Errors
///
/// As [`Config::resolve`].
pub(super) fn resolve(common: &CommonFlags, flags: &ServeFlags) -> Result<Config, ConfigError> {
    Config::resolve(common, flags).map_err(|error| match error {
        ConfigError::Invalid(mut faults) => {
            faults.push("(folders, certificates and the model are checked once these are right)".to_owned());
            ConfigError::Invalid(faults)
        }
        other @ (ConfigError::Read { .. } | ConfigError::Parse { .. }) => other,
    })
}

/// The folders that the server writes to, by the key that names each.
fn folders(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let sinks = &config.sinks;
    let lines = sinks.json_lines.as_ref().map(|lines| ("sink.jsonl_folder", lines.folder.clone()));
    let letters = sinks.webhook.as_ref().and_then(|webhook| webhook.dead_letters.parent());
    let letters = letters.map(|folder| ("sink.webhook_dead_letters", folder.to_owned()));
    let store = config.profile_store.clone().map(|folder| ("profile.store", folder));
    // Where letters lie in the store, its folder is named once.
    let letters = letters.filter(|(_, folder)| Some(folder) != config.profile_store.as_ref());
    store.into_iter().chain(lines).chain(letters).collect()
}

/// Whether a folder can be written to or, where there is none yet, made. Nothing is changed.
fn writable(folder: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let named = |path: &Path| if path.as_os_str().is_empty() { here.to_owned() } else { path.to_owned() };
    for above in folder.ancestors().map(named).chain([here.to_owned()]) {
        match above.metadata() {
            Ok(meta) if meta.is_dir() => {
                let wanted = Access::WRITE_OK | Access::EXEC_OK;
                return Ok(accessat(CWD, &above, wanted, AtFlags::EACCESS)?);
            }
            Ok(_) => {
                let problem = format!("{} is a file, and a folder is needed", above.display());
                return Err(io::Error::other(problem));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A file stands where a folder is needed: it is found further up.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
