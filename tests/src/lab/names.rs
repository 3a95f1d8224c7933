//! The identifiers a cluster gives its objects: made from the object's name, so that every run has the same.

use data_encoding::{BASE32, HEXLOWER};
use sha2::{Digest, Sha256};
use uuid::Builder;

/// A pod's UID in the shape the API server gives it (a version 4 UUID).
pub fn pod_uid(namespace: &str, name: &str) -> String {
    Builder::from_random_bytes(leading(&digest(&format!("uid/{namespace}/{name}")))).into_uuid().to_string()
}

/// A static pod's UID: the kubelet's hash of its file, 32 hex digits without dashes.
pub fn static_pod_uid(namespace: &str, name: &str) -> String {
    HEXLOWER.encode(&leading::<16>(&digest(&format!("static/{namespace}/{name}"))))
}

/// A container's id: 64 hex digits.
pub fn container_id(pod_uid: &str, container: &str) -> String {
    HEXLOWER.encode(&digest(&format!("{pod_uid}/{container}")))
}

/// The name of a pod's interface on the node, within the kernel's 15 characters.
pub fn veth(pod_uid: &str) -> String {
    format!("veth{}", HEXLOWER.encode(&leading::<4>(&digest(pod_uid))))
}

/// The 16 characters by which kube-proxy tells the chains of Services and endpoints apart.
pub fn chain_hash(of: &str) -> String {
    let mut text = BASE32.encode(&digest(of));
    text.truncate(16);
    text
}

/// Tells apart versions of the same texts: 16 hex digits.
pub fn content_hash(texts: &[&str]) -> String {
    HEXLOWER.encode(&leading::<8>(&digest(&texts.join("\0"))))
}

fn digest(of: &str) -> [u8; 32] {
    Sha256::digest(of).into()
}

fn leading<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    const { assert!(N <= 32) };
    std::array::from_fn(|index| digest[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_those_of_every_cluster() {
        // The two chain names that any kubeadm cluster's rules contain.
        assert_eq!(chain_hash("kube-system/kube-dns:dnsudp"), "TCOU7JCQXEZGVUNU");
        assert_eq!(chain_hash("kube-system/kube-dns:dns-tcptcp"), "ERIFXISQEP7F7OF4");
    }

    #[test]
    fn identifiers_have_their_real_shapes() {
        let uid = pod_uid("shop", "cart-7d4f");
        assert_eq!(uid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert_eq!(static_pod_uid("kube-system", "etcd-node").len(), 32);
        assert_eq!(container_id(&uid, "cart").len(), 64);
        assert!(veth(&uid).len() <= 15);
        assert_ne!(uid, pod_uid("shop", "web-0"));
    }
}
