//! Images made on the spot: an OCI archive with one layer that holds a static program, and nothing else.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Writes an archive that `ctr images import` takes: image `name`, whose `/PROGRAM` is a copy of the static program.
pub fn write(archive: &Path, name: &str, program: &Path) -> Result<()> {
    let file_name = program.file_name().and_then(|name| name.to_str()).context("a program without a name")?;
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    fs::write(archive, image(name, file_name, &bytes)?)
        .with_context(|| format!("cannot write {}", archive.display()))
}

fn image(name: &str, program: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let layer =
        Blob::new("application/vnd.oci.image.layer.v1.tar", tar(&[(program.to_owned(), 0o755, bytes)])?);
    let config = Blob::json(
        "application/vnd.oci.image.config.v1+json",
        &json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": [format!("/{program}")]},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest()]},
        }),
    )?;
    let manifest = Blob::json(
        "application/vnd.oci.image.manifest.v1+json",
        &json!({"schemaVersion": 2, "config": config.descriptor(), "layers": [layer.descriptor()]}),
    )?;
    let mut entry = manifest.descriptor();
    entry["annotations"] = json!({"io.containerd.image.name": name});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

    let blobs = [&layer, &config, &manifest];
    let mut files = vec![
        ("oci-layout".to_owned(), 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json".to_owned(), 0o644, &index),
    ];
    files.extend(blobs.map(|blob| (format!("blobs/sha256/{}", blob.hash), 0o644, blob.bytes.as_slice())));
    tar(&files)
}

/// A file of the archive that others name by its hash.
struct Blob {
    media_type: &'static str,
    hash: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, hash: HEXLOWER.encode(&Sha256::digest(&bytes)), bytes }
    }

    fn json(media_type: &'static str, value: &Value) -> Result<Self> {
        Ok(Self::new(media_type, serde_json::to_vec(value)?))
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }
}

/// A tar archive of regular files: (path, mode, content).
fn tar(files: &[(String, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_size(u64::try_from(bytes.len())?);
        archive.append_data(&mut header, path, *bytes)?;
    }
    Ok(archive.into_inner()?)
}

/// The machine's architecture as the OCI specification spells it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use super::*;

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: std::io::Result<tar::Entry<_>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn every_digest_in_the_archive_leads_to_its_file() {
        let archive = files(&image("localhost/lab/x:1", "x", b"program").unwrap());
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &archive[&format!("blobs/sha256/{digest}")];
            assert_eq!(HEXLOWER.encode(&Sha256::digest(bytes)), digest);
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        let index: Value = serde_json::from_slice(&archive["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = files(&blob(&manifest["layers"][0]));
        assert_eq!(layer["x"], b"program");
    }
}
