//! Which file will run, and whether it can be watched.
//!
//! Statuses are a shell's: 127 not found, 126 found but not to be executed. A program that can run but not be watched
//! (static, setuid) is no error: it runs, and [`Program::unseen`] has the sentence.

use crate::error::CliError;
use crate::run::sanitizer::{self, Way};
use arenascope_symbols::{Image, ImageError, Linkage};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A program that can be executed.
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its image; none for scripts.
    pub image: Option<Image>,
    /// Why nothing can be seen in it; empty when it can be watched.
    pub unseen: String,
}

/// Finds `name` as a shell would, and looks at what it is.
pub fn find(name: &OsStr) -> Result<Program, CliError> {
    let path = resolve(name)?;
    let shown = path.display().to_string();
    let data = std::fs::metadata(&path).map_err(|error| cannot(&shown, &error))?;
    if data.is_dir() {
        return Err(CliError::not_executable(format!("{shown} is a directory")).hint("name the program inside it"));
    }
    if data.permissions().mode() & 0o111 == 0 || !may_execute(&path) {
        let mut error = CliError::not_executable(format!("{shown} is not executable (permission denied)"));
        error = if shown.ends_with(".c") {
            error.hint(format!("arenascope run {shown}  (without --: C files are compiled first)"))
        } else {
            error.hint(format!("chmod +x {shown}"))
        };
        return Err(error);
    }
    let mut head = [0u8; 4];
    let read = std::fs::File::open(&path).and_then(|mut file| file.read(&mut head));
    match read {
        Ok(_) => {}
        // Executable but not readable: it runs, and cannot be looked into.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let unseen = format!("{shown} may be executed but not read, so its functions cannot be found");
            return Ok(Program { path, image: None, unseen });
        }
        Err(error) => return Err(cannot(&shown, &error)),
    }
    if head.starts_with(b"#!") {
        return Ok(Program { path, image: None, unseen: String::new() });
    }
    if head != *b"\x7fELF" {
        return Err(CliError::not_executable(format!("{shown} is neither a program (ELF) nor a script (#!)"))
            .hint(format!("sh {shown}, if it is a shell script")));
    }
    let image = match Image::open(&path) {
        Ok(image) => image,
        Err(ImageError::WrongMachine { found }) => {
            return Err(CliError::not_executable(format!(
                "{shown} is a program for another machine ({found}); this one is x86-64"
            ))
            .hint("build it for this machine"));
        }
        Err(error) => return Err(CliError::not_executable(format!("{shown}: {error}"))),
    };
    let unseen = match image.linkage() {
        Linkage::Static | Linkage::StaticPie => format!(
            "{shown} is statically linked: no library can be preloaded into it. Link it dynamically (without -static) to see its arenas"
        ),
        _ if is_setuid(&data) => format!(
            "{shown} is setuid: the loader refuses to preload libraries into it. Run it as its owner, or a copy without the setuid bit"
        ),
        _ => match sanitizer::way_into(&image, std::env::var_os("LD_LIBRARY_PATH").as_deref()) {
            Way::Behind(_) => String::new(),
            Way::Barred(reason) => reason,
        },
    };
    Ok(Program { path, image: Some(image), unseen })
}

/// True when executing the file changes the user or group.
fn is_setuid(data: &std::fs::Metadata) -> bool {
    let mode = data.permissions().mode();
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    (mode & 0o4000 != 0 && data.uid() != user) || (mode & 0o2000 != 0 && mode & 0o010 != 0 && data.gid() != group)
}

fn may_execute(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn cannot(shown: &str, error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::NotFound => CliError::not_found(format!("{shown}: no such program")),
        io::ErrorKind::PermissionDenied => CliError::not_executable(format!("{shown}: permission denied")),
        _ => CliError::not_executable(format!("{shown}: {error}")),
    }
}

/// The file a shell would execute for `name`.
fn resolve(name: &OsStr) -> Result<PathBuf, CliError> {
    let shown = name.to_string_lossy();
    if name.is_empty() {
        return Err(CliError::not_found("the program's name is empty"));
    }
    if shown.contains('/') {
        let path = PathBuf::from(name);
        return match std::fs::metadata(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(cannot(&shown, &error)),
        };
    }
    let mut found_but_useless = None;
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let path = folder.join(name);
        let Ok(data) = std::fs::metadata(&path) else { continue };
        if data.is_file() && data.permissions().mode() & 0o111 != 0 && may_execute(&path) {
            return Ok(path);
        }
        found_but_useless.get_or_insert(path);
    }
    if let Some(path) = found_but_useless {
        return Ok(path);
    }
    let error = CliError::not_found(format!("{shown}: no such program in PATH"));
    if Path::new(name).exists() {
        return Err(error.hint(format!("./{shown}, which is in this folder")));
    }
    Err(error)
}
