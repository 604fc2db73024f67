//! What ships: the binary, alone on its file system, and the package around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Cursor, Read as _},
    path::Path,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use signet::local::{app::AppRoot, shipping::Shipping};
use signet_core::algorithm::sha256_hex;
use tokio::{process::Command, time::timeout};
use zip::ZipArchive;

use crate::{tool::signet, world::app_root};

/// The files of a package, by name.
type Package = BTreeMap<String, Vec<u8>>;

/// Makes the package in a directory of its own; cargo has built the binary already. Also what the tool said.
async fn package() -> (Package, Value) {
    app_root().await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(signet().await);
    command.args(["package", "--json", "--output"]).arg(directory.path());
    command.current_dir(AppRoot::find().expect("the checkout").directory()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(Duration::from_mins(10), command.output()).await.expect("an end").expect("a tool that starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = fs::read_dir(directory.path()).expect("a package").map(|file| {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("a file"))
    });
    (files.collect(), serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[tokio::test]
async fn the_package_holds_what_the_host_needs() {
    let (package, said) = package().await;
    let root = app_root().await;
    let handler = fs::read(root.join("bin/handler")).unwrap();
    assert_eq!(package.keys().collect::<Vec<_>>(), ["SHA256SUMS", "handler", "signet.cdx.json", "signet.zip"]);
    assert!(package["handler"] == handler, "the binary is the one in its place");

    let mut archive = ZipArchive::new(Cursor::new(&package["signet.zip"])).unwrap();
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let name = entry.name().unwrap().into_owned();
        assert!(content == fs::read(root.join(&name)).unwrap(), "{name} is as it stands in the app");
        assert_eq!(entry.compression(), zip::CompressionMethod::Deflated, "{name}");
        entries.push((name, entry.unix_mode().unwrap() & 0o777));
    }
    let expected =
        [("bin/handler", 0o755), ("host.json", 0o644), ("poison/function.json", 0o644), ("sign/function.json", 0o644)];
    assert_eq!(entries, expected.map(|(name, mode)| (name.to_owned(), mode)));
    assert!(package["signet.zip"].len() < handler.len() * 3 / 5, "compressed");

    let sums = String::from_utf8(package["SHA256SUMS"].clone()).unwrap();
    let expected: String = ["handler", "signet.cdx.json", "signet.zip"]
        .map(|name| format!("{}  {name}\n", sha256_hex(&package[name])))
        .concat();
    assert_eq!(sums, expected);
    let files = said["files"].as_array().unwrap();
    assert_eq!(files[0]["sha256"], sha256_hex(&handler));
    assert_eq!(files[0]["bytes"], handler.len());
}

#[tokio::test]
async fn packaging_twice_gives_the_same_bytes() {
    let (first, second) = (package().await, package().await);
    assert_eq!(first.0["SHA256SUMS"], second.0["SHA256SUMS"]);
    assert!(first.0 == second.0);
}

#[tokio::test]
async fn the_bill_of_materials_lists_the_crates_of_the_handler() {
    let (package, said) = package().await;
    let bom: Value = serde_json::from_slice(&package["signet.cdx.json"]).unwrap();
    let root = AppRoot::find().unwrap();
    let tree = |format: &str| {
        let mut tree = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        tree.args([
            "tree",
            "--locked",
            "-p",
            "handler",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--no-dedupe",
            "-f",
            format,
        ]);
        tree.args(["--target", said["target"].as_str().unwrap()]).current_dir(root.directory());
        tree
    };
    let output = tree("{p}").output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut expected: BTreeSet<String> = String::from_utf8(output.stdout).unwrap().lines().map(name).collect();

    let text = |value: &Value, member: &str| value[member].as_str().unwrap_or_default().to_owned();
    let name = |component: &Value| format!("{} v{}", text(component, "name"), text(component, "version"));
    let handler = &bom["metadata"]["component"];
    assert!(expected.remove(&name(handler)), "{handler}");
    assert_eq!(handler["hashes"][0]["content"], sha256_hex(&package["handler"]));
    let components = bom["components"].as_array().unwrap();
    assert_eq!(components.iter().map(name).collect::<BTreeSet<_>>(), expected);
    assert_eq!(components.len(), expected.len());

    let mut references = BTreeSet::from([text(handler, "bom-ref")]);
    for component in components {
        let (purl, crate_name) = (text(component, "purl"), text(component, "name"));
        assert!(purl.starts_with(&format!("pkg:cargo/{crate_name}@")), "{component}");
        assert!(!component["licenses"][0]["expression"].as_str().unwrap().contains('/'), "{component}");
        let ours = purl.contains("?vcs_url=");
        assert_eq!(ours, crate_name.starts_with("signet-"), "{component}");
        assert_eq!(ours, component["hashes"].is_null(), "{component}");
        references.insert(text(component, "bom-ref"));
    }
    let excluded: Vec<_> = components.iter().filter(|component| component["scope"] == "excluded").map(name).collect();
    assert!(excluded.iter().any(|name| name.starts_with("syn v")), "{excluded:?}");
    assert!(!excluded.iter().any(|name| name.starts_with("serde v")), "{excluded:?}");

    let edges = bom["dependencies"].as_array().unwrap();
    assert_eq!(edges.iter().map(|edge| text(edge, "ref")).collect::<BTreeSet<_>>(), references);
    let needed = edges.iter().flat_map(|edge| edge["dependsOn"].as_array().unwrap());
    let needed: BTreeSet<String> = needed.map(|need| need.as_str().unwrap().to_owned()).collect();
    references.remove(&text(handler, "bom-ref"));
    assert_eq!(needed, references, "each is needed by another");
}

#[tokio::test]
async fn no_path_of_the_builder_is_in_the_binary() {
    let root = app_root().await;
    let handler = fs::read(root.join("bin/handler")).unwrap();
    let home = std::env::home_dir().map(|home| home.join(""));
    for path in [Some(root.clone()), home, Some(AppRoot::at(&root).target())].into_iter().flatten() {
        let text = path.to_str().unwrap().as_bytes();
        assert!(!handler.windows(text.len()).any(|window| window == text), "{} is in it", path.display());
    }
}

/// Where a static binary can be made at all, it must be.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_binary_needs_no_loader_and_no_library() {
    use object::{
        Endianness, elf,
        read::elf::{Dyn as _, ElfFile64, ProgramHeader as _},
    };

    let handler = fs::read(app_root().await.join("bin/handler")).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*handler).unwrap();
    for header in file.elf_program_headers() {
        assert_ne!(header.p_type(file.endian()), elf::PT_INTERP);
        let dynamic = header.dynamic(file.endian(), file.data()).unwrap().unwrap_or_default();
        assert!(dynamic.iter().all(|entry| entry.d_tag(file.endian()) != elf::DT_NEEDED), "no library");
    }
    assert!(
        file.elf_section_table().symbols(file.endian(), file.data(), elf::SHT_SYMTAB).unwrap().is_empty(),
        "stripped"
    );
}

#[tokio::test]
async fn another_target_is_named_to_cargo() {
    let root = AppRoot::find().unwrap();
    let shipping = Shipping::of(&root, Some("aarch64-unknown-linux-musl")).await.unwrap();
    let mut build = Command::new("cargo");
    shipping.apply(&mut build);
    let arguments: Vec<_> = build.as_std().get_args().collect();
    assert_eq!(arguments, ["--target", "aarch64-unknown-linux-musl"]);
    let flags = build.as_std().get_envs().find(|(name, _)| *name == "CARGO_ENCODED_RUSTFLAGS").unwrap().1.unwrap();
    assert!(flags.to_string_lossy().contains("target-feature=+crt-static"), "{flags:?}");
}

/// The handler in a root directory of its own.
#[cfg(target_os = "linux")]
mod alone {
    use std::{
        fs::Permissions,
        io,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        sync::Arc,
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use signet::local::{stack::Deployment, vault::KeySpec};

    use super::*;
    use crate::{
        process::free_port,
        wire::{exchange, invocation},
        world::{Place, deployment, eventually},
    };

    /// A root directory with nothing but the handler, and the command that starts it in there; none where the machine lets us
    /// neither be root nor seem so.
    async fn confined(directory: &Path) -> Option<Command> {
        confined_as(directory, &["chroot"]).await
    }

    /// Returns once a program that was just written may be started: a process that another test is about to start has the file
    /// open for writing until then.
    async fn startable(program: &Path) {
        eventually("a program that nobody writes", async || {
            let tried = Command::new(program).arg("--version").stdout(Stdio::null()).status().await;
            (!tried.is_err_and(|error| error.kind() == io::ErrorKind::ExecutableFileBusy)).then_some(())
        })
        .await;
    }

    /// The same by such a command, or without its options where one must first seem to be root.
    async fn confined_as(directory: &Path, chroot: &[&str]) -> Option<Command> {
        fs::copy(app_root().await.join("bin/handler"), directory.join("handler")).expect("a copy");
        startable(&directory.join("handler")).await;
        for with in [chroot, &["unshare", "-r", "chroot"]] {
            let mut command = Command::new(with[0]);
            command.args(&with[1..]).arg(directory).arg("/handler").stdin(Stdio::null()).kill_on_drop(true);
            let path = std::env::var("PATH").expect("a path");
            command.env_clear().env("PATH", format!("{path}:/usr/sbin:/sbin"));
            // chroot has an exit code of its own for a program that is not there, which shows that it got so far (POSIX: 127).
            let mut attempt = Command::new(with[0]);
            attempt.args(&with[1..]).arg(directory).arg("/missing").stderr(Stdio::null());
            if attempt.status().await.is_ok_and(|status| status.code() == Some(127)) {
                return Some(command);
            }
        }
        assert!(std::env::var_os("CI").is_none(), "neither chroot nor unshare works here");
        eprintln!(
            "NOT TESTED: the handler in an empty root directory, since neither chroot nor unshare works on this machine"
        );
        None
    }

    #[tokio::test]
    async fn it_says_its_version_with_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let Some(mut command) = confined(directory.path()).await else { return };
        let output = command.arg("--version").output().await.unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"handler "), "{output:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    /// The one file beside it is the authority of the local stack, which it cannot have in itself.
    #[tokio::test]
    async fn it_signs_with_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let Some(mut command) = confined(directory.path()).await else { return };
        let deployment = deployment().await;
        let key = deployment.create_key("signing", KeySpec::P256).await.unwrap();
        let mut settings = deployment.settings(&key);
        fs::copy(&settings["SSL_CERT_FILE"], directory.path().join("roots.pem")).unwrap();
        let port = free_port();
        settings.insert("SSL_CERT_FILE".to_owned(), "/roots.pem".to_owned());
        settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), port.to_string());
        signs(command.envs(&settings), port, &deployment).await;
    }

    /// As a platform mounts it: unpacked with the modes that Core Tools give or that the zip has, nothing to be written, and the
    /// process that of a user who owns none of it.
    #[tokio::test]
    async fn it_signs_from_a_read_only_directory_as_another_user() {
        const NOBODY: u32 = 65534;
        let (package, _) = package().await;
        for [binary, others, directories] in [[0o755, 0o644, 0o555], [0o777, 0o666, 0o555]] {
            let place = tempfile::tempdir().unwrap();
            let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let mut archive = ZipArchive::new(Cursor::new(&package["signet.zip"])).unwrap();
            archive.extract(place.path().join("wwwroot")).unwrap();
            startable(&place.path().join("wwwroot/bin/handler")).await;
            let deployment = deployment().await;
            let key = deployment.create_key("signing", KeySpec::P256).await.unwrap();
            let mut settings = deployment.settings(&key);
            let roots = place.path().join("roots.pem");
            fs::copy(&settings["SSL_CERT_FILE"], &roots).unwrap();
            set(&roots, 0o644);
            settings.insert("SSL_CERT_FILE".to_owned(), roots.display().to_string());
            let port = free_port();
            settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT".to_owned(), port.to_string());
            let app = place.path().join("wwwroot");
            for name in ["host.json", "sign/function.json", "poison/function.json"] {
                set(&app.join(name), others);
            }
            set(&app.join("bin/handler"), binary);
            for directory in ["sign", "poison", "bin", ""] {
                set(&app.join(directory), directories);
            }
            set(place.path(), 0o555);

            let mut command = Command::new(app.join("bin/handler"));
            command.current_dir(&app).env_clear().envs(&settings).stdin(Stdio::null()).kill_on_drop(true);
            // Only root may be somebody else.
            if fs::metadata("/proc/self").unwrap().uid() == 0 {
                command.uid(NOBODY).gid(NOBODY);
            }
            signs(&mut command, port, &deployment).await;
            for directory in ["sign", "poison", "bin", ""] {
                set(&app.join(directory), 0o755);
            }
            set(place.path(), 0o755);
        }
    }

    /// As infra/container/Dockerfile lays it out, in a root directory that nobody may write to.
    #[tokio::test]
    async fn it_pulls_as_the_one_file_of_a_container() {
        let recipe = fs::read_to_string(app_root().await.join("infra/container/Dockerfile")).unwrap();
        let said = |name: &str| {
            let mut lines = recipe.lines().filter_map(|line| line.strip_prefix(name));
            lines.next_back().unwrap_or_else(|| panic!("{name} in {recipe}")).trim().to_owned()
        };
        assert_eq!((said("FROM "), said("ENTRYPOINT ")), ("scratch".to_owned(), r#"["/handler"]"#.to_owned()));
        assert!(said("COPY ").ends_with("bin/handler /handler"));
        let arguments: Vec<String> = serde_json::from_str(&said("CMD ")).unwrap();
        let user = format!("--userspec={}", said("USER "));
        let (health, address) = (said("ENV "), format!("127.0.0.1:{}", free_port()));
        assert!(health.starts_with("SIGNET_HEALTH=0.0.0.0:"), "{health}");

        let directory = tempfile::tempdir().unwrap();
        let Some(mut command) = confined_as(directory.path(), &["chroot", &user]).await else { return };
        let deployment = deployment().await;
        let key = deployment.create_key("signing", KeySpec::P256).await.unwrap();
        let mut settings = deployment.settings(&key);
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        fs::copy(&settings["SSL_CERT_FILE"], directory.path().join("roots.pem")).unwrap();
        set(&directory.path().join("roots.pem"), 0o444);
        set(&directory.path().join("handler"), 0o555);
        set(directory.path(), 0o555);
        settings.insert("SSL_CERT_FILE".to_owned(), "/roots.pem".to_owned());
        settings.insert("SIGNET_HEALTH".to_owned(), address.clone());
        let mut container = command.args(arguments).envs(&settings).stdout(Stdio::null()).spawn().expect("a start");
        let place = Place { deployment: Arc::new(deployment), key };
        place.enqueue(r#"{"id":"alone","payload":1}"#).await;
        place.awaited("alone.jws.json").await;
        let answers = tokio::net::TcpStream::connect(address.as_str()).await;
        assert!(answers.is_ok(), "probes are answered");
        let pid = container.id().expect("it runs").try_into().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        let status = container.wait().await.unwrap();
        assert!(status.success(), "{status}");
        set(directory.path(), 0o755);
    }

    /// Starts a handler and has it sign an item.
    async fn signs(command: &mut Command, port: u16, deployment: &Deployment) {
        let mut handler = command.stdout(Stdio::null()).spawn().expect("a handler that starts");
        eventually("a handler that listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await;
        assert_eq!(exchange(port, "GET", "/", b"").await.status, 200);
        let item = invocation(r#"{"id":"alone","payload":1}"#);
        let answer = exchange(port, "POST", "/sign", item.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let result = deployment.results().expect("the container").blob_client("alone.jws.json");
        assert!(result.get_properties(None).await.is_ok(), "the result stands");
        handler.kill().await.expect("it ends");
    }
}
