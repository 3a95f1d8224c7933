use std::fs;

use tempfile::TempDir;

use super::*;

/// A folder with these files, and places that look in it alone.
fn folder(files: &[(&str, &str)]) -> (TempDir, Places) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let places = Places {
        given: None,
        listed: Vec::new(),
        home: Some(folder.path().to_owned()),
        host: None,
        port: None,
        service_account: folder.path().join("serviceaccount"),
    };
    (folder, places)
}

fn trouble(places: &Places) -> String {
    match Access::find(places) {
        Err(Failure::Trouble { line, is_common: true }) => line,
        other => panic!("{other:?}"),
    }
}

fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\ncontexts:\n- name: lab\n  context: {{cluster: c, \
         user: u, namespace: shop}}\nclusters:\n- name: c\n  cluster: {cluster}\nusers:\n- name: u\n  user: {user}\n"
    )
}

#[test]
fn a_kubeconfig_is_read_as_kubectl_reads_it() {
    let config = kubeconfig(
        "{server: 'https://[fd00::1]:6443/k8s/c-1/', certificate-authority: pki/ca.crt, tls-server-name: api}",
        "{client-certificate-data: Q0VSVA==, client-key: /no/such/key, client-key-data: S0VZ, tokenFile: token}",
    );
    let (_folder, places) =
        folder(&[(".kube/config", &config), (".kube/pki/ca.crt", "CA"), (".kube/token", "secret\n")]);
    let access = Access::find(&places).unwrap();
    assert_eq!((access.host.as_str(), access.port, access.base.as_str()), ("fd00::1", 6443, "/k8s/c-1"));
    assert_eq!(access.shown(), "https://[fd00::1]:6443");
    assert_eq!(access.server_name.as_deref(), Some("api"));
    assert_eq!(access.authorities.as_deref(), Some(&b"CA"[..]));
    assert_eq!(access.identity, Some((b"CERT".to_vec(), b"KEY".to_vec())));
    assert_eq!(access.token.as_deref(), Some("secret"));
}

#[test]
fn of_several_files_the_first_that_says_something_counts() {
    let one = "current-context: ''\nusers:\n- name: u\n  user: {token: one}\n";
    let two = kubeconfig("{server: http://127.0.0.1:8001}", "{token: two}");
    let (folder, mut places) = folder(&[("one", one), ("two", &two), (".kube/config", "no: use")]);
    places.listed = ["missing", "one", "two"].map(|name| folder.path().join(name)).to_vec();
    let access = Access::find(&places).unwrap();
    assert_eq!((access.is_tls, access.port, access.token.as_deref()), (false, 8001, Some("one")));
    places.given = Some(folder.path().join("two"));
    assert_eq!(Access::find(&places).unwrap().token.as_deref(), Some("two"));
}

#[test]
fn a_pod_has_its_service_account() {
    let (_folder, mut places) = folder(&[("serviceaccount/token", "t"), ("serviceaccount/ca.crt", "CA")]);
    places.host = Some("fd00:96::1".to_owned());
    places.port = Some("443".to_owned());
    let access = Access::find(&places).unwrap();
    assert_eq!((access.shown().as_str(), access.token.as_deref()), ("https://[fd00:96::1]:443", Some("t")));
}

#[test]
fn what_cannot_be_done_is_one_line_that_says_what_to_do() {
    let (_folder, places) = folder(&[]);
    let line = trouble(&places);
    assert!(
        line.contains(".kube/config") && line.contains("--kubeconfig") && line.contains("sudo"),
        "{line}"
    );
    let server = "server: 'https://192.0.2.1:6443'";
    let exec = "{exec: {command: aws, args: [eks, get-token]}}";
    for (cluster, user, hint) in [
        (format!("{{{server}, insecure-skip-tls-verify: true}}"), "{}", "certificate-authority"),
        (format!("{{{server}, proxy-url: 'socks5://x'}}"), "{}", "proxy-url"),
        (format!("{{{server}}}"), exec, "by running aws"),
        (format!("{{{server}}}"), "{username: me, password: x}", "with a password"),
        (format!("{{{server}, certificate-authority-data: '%%'}}"), "{}", "Base64"),
        (format!("{{{server}, certificate-authority: /no/such/file}}"), "{}", "cannot read /no/such/file"),
        ("{server: 'ftp://x'}".to_owned(), "{}", "no URL"),
        ("{server: ''}".to_owned(), "{}", "no URL"),
    ] {
        let config = kubeconfig(&cluster, user);
        let (_folder, places) = folder(&[(".kube/config", &config)]);
        let line = trouble(&places);
        assert!(line.contains(hint) && !line.contains('\n'), "{line}");
    }
    for (text, hint) in [
        ("[", "no kubeconfig"),
        ("a: &a [*a]", "no kubeconfig"),
        ("{}", "current-context"),
        ("current-context: x", "no context x"),
        ("{current-context: x, contexts: [{name: x, context: {cluster: y}}]}", "no cluster y"),
    ] {
        let (_folder, places) = folder(&[(".kube/config", text)]);
        let line = trouble(&places);
        assert!(line.contains(hint) && !line.contains('\n'), "{text}: {line}");
    }
}
