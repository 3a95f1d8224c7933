//! Takes the kernel proper out of the self-extracting image that distributions ship.
//!
//! QEMU starts an uncompressed kernel directly. The compressed one unpacks itself in the emulated machine, which
//! takes half of the whole boot (seen on 6.1: 13 s against 6 s of processor time to the first command).

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::packages::HostPrograms;

/// Writes the kernel in the bzImage `image` to `vmlinux`; arm64's `Image` is not packed.
pub fn extract(host: &HostPrograms, image: &Path, vmlinux: &Path) -> Result<()> {
    let contents = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    if is_arm64_image(&contents) {
        return fs::write(vmlinux, contents).with_context(|| format!("cannot write {}", vmlinux.display()));
    }
    let (compression, payload) = Compression::payload_of(&contents)
        .with_context(|| format!("no known kernel in {}", image.display()))?;
    let packed = vmlinux.with_extension("packed");
    fs::write(&packed, payload)?;
    let status = Command::new(host.find(compression.program())?)
        .args(["--decompress", "--stdout"])
        .env("LD_LIBRARY_PATH", host.libraries())
        .stdin(File::open(&packed)?)
        .stdout(Stdio::from(File::create(vmlinux)?))
        .status()
        .with_context(|| format!("cannot run {}", compression.program()))?;
    fs::remove_file(&packed)?;
    ensure!(status.success(), "cannot decompress the kernel in {}", image.display());
    Ok(())
}

/// How Debian's kernels are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    /// Up to 6.11.
    Xz,
    /// From 6.12 on.
    Zstd,
}

impl Compression {
    fn program(self) -> &'static str {
        match self {
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    /// Finds the compressed kernel by the header fields that Documentation/arch/x86/boot.rst describes, all of
    /// them little-endian: `setup_sects` at 0x1f1, `payload_offset` at 0x248, `payload_length` at 0x24c.
    fn payload_of(image: &[u8]) -> Option<(Self, &[u8])> {
        ensure_boot_header(image)?;
        let setup_sectors = usize::from(*image.get(0x1f1)?);
        let protected_mode_code = image.get((setup_sectors + 1) * 512..)?;
        let start = u32_at(image, 0x248)?;
        let length = u32_at(image, 0x24c)?;
        // The build appends the unpacked size in 4 bytes (scripts/Makefile.lib, `size_append`).
        let payload = protected_mode_code.get(start..start.checked_add(length)?.checked_sub(4)?)?;
        match payload {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some((Self::Xz, payload)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some((Self::Zstd, payload)),
            _ => None,
        }
    }
}

/// By the magic number of Documentation/arch/arm64/booting.rst.
fn is_arm64_image(image: &[u8]) -> bool {
    image.get(0x38..0x3c) == Some(b"ARM\x64")
}

fn ensure_boot_header(image: &[u8]) -> Option<()> {
    (image.get(0x202..0x206)? == b"HdrS").then_some(())
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let bytes = bytes.get(offset..offset + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One setup sector after the boot sector, then 16 bytes, then the payload with its size.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&16u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32 + 4).to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(&[1, 2, 3, 4]);
        image.extend_from_slice(b"code after the payload");
        image
    }

    #[test]
    fn payload_is_found_without_its_size() {
        let xz = b"\xfd7zXZ\0 and so on";
        assert_eq!(Compression::payload_of(&image(xz)), Some((Compression::Xz, &xz[..])));
        let zstd = b"\x28\xb5\x2f\xfd and so on";
        assert_eq!(Compression::payload_of(&image(zstd)), Some((Compression::Zstd, &zstd[..])));
    }

    #[test]
    fn arm64_kernel_is_not_packed() {
        let mut image = vec![0; 64];
        assert!(!is_arm64_image(&image));
        image[0x38..0x3c].copy_from_slice(&0x644d_5241_u32.to_le_bytes());
        assert!(is_arm64_image(&image));
        assert!(!is_arm64_image(&image[..0x3b]));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert_eq!(Compression::payload_of(b""), None);
        assert_eq!(Compression::payload_of(&[0; 4096]), None);
        assert_eq!(Compression::payload_of(&image(b"unknown packing")), None);
        let mut cut = image(b"\xfd7zXZ\0 and so on");
        cut.truncate(1024 + 20);
        assert_eq!(Compression::payload_of(&cut), None);
    }
}
