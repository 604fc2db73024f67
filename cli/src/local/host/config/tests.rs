use std::fs;

use super::*;

const HOST: &str = r#"{
    "version": "2.0",
    "extensionBundle": { "id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)" },
    "customHandler": { "description": { "defaultExecutablePath": "handler" } }
}"#;

const FUNCTION: &str = r#"{ "bindings": [ { "type": "queueTrigger", "direction": "in", "name": "msg",
    "queueName": "%QUEUE%", "connection": "Work" } ] }"#;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let given = [("QUEUE", "work"), ("Work__queueServiceUri", "https://a.queue.localhost")];
    given.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(host: &str, function: &str, settings: &Settings) -> Result<App, String> {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("host.json"), host).unwrap();
    fs::create_dir(root.path().join("sign")).unwrap();
    fs::write(root.path().join("sign/function.json"), function).unwrap();
    fs::create_dir(root.path().join("assets")).unwrap();
    App::read(root.path(), settings, &|_| None).map_err(|error| error.to_string())
}

#[test]
fn our_own_app_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let given =
        [("SIGNET_QUEUE", "work"), ("WorkQueue__queueServiceUri", "https://devstoreaccount1.queue.localhost:1")];
    let settings = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let app = App::read(root, &settings, &|_| None).unwrap();
    let found: Vec<_> = app.functions.iter().map(|f| (f.name.as_str(), f.queue.as_str(), f.data_type)).collect();
    assert_eq!(found, [("poison", "work-poison", DataType::Binary), ("sign", "work", DataType::Binary)]);
    assert_eq!(app.queues.message_encoding, MessageEncoding::None);
    assert!(app.handler.executable.ends_with("bin/handler"));
}

#[test]
fn defaults_are_those_of_the_host() {
    let app = read(HOST, FUNCTION, &settings(&[])).unwrap();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(app.function_timeout, Some(Duration::from_mins(30)));
    assert_eq!(app.handler.initialization_timeout, Duration::from_secs(30));
    assert_eq!(app.handler.executable, Path::new("handler"), "no such file in the app: a name for the search path");
    assert_eq!(app.handler.working_directory, app.root);
    assert_eq!(
        app.queues,
        QueuesConfig {
            batch_size: 16,
            new_batch_threshold: 8 * processors,
            max_polling_interval: Duration::from_mins(1),
            visibility_timeout: Duration::ZERO,
            max_dequeue_count: 5,
            message_encoding: MessageEncoding::Base64,
        }
    );
    let [function] = app.functions.as_slice() else { panic!("one function") };
    assert_eq!((function.name.as_str(), function.data_type), ("sign", DataType::String));
}

#[test]
fn app_settings_override_host_json() {
    let overrides = [
        ("AzureFunctionsJobHost__functionTimeout", "-1"),
        ("AzureFunctionsJobHost__extensions__queues__BatchSize", "1"),
        ("AzureFunctionsJobHost__extensions__queues__newBatchThreshold", "0"),
        ("AzureFunctionsJobHost__CustomHandler__description__workingDirectory", "w"),
    ];
    let app = read(HOST, FUNCTION, &settings(&overrides)).unwrap();
    assert_eq!((app.queues.batch_size, app.queues.new_batch_threshold), (1, 0));
    assert_eq!(app.function_timeout, None);
    assert_eq!(app.handler.working_directory, app.root.join("w"));
}

#[test]
fn disabled_functions_are_left_out() {
    let app = read(HOST, FUNCTION, &settings(&[("AzureWebJobs.sign.Disabled", "True")])).unwrap();
    assert!(app.functions.is_empty());
    let disabled = FUNCTION.replacen('{', r#"{ "disabled": true,"#, 1);
    assert!(read(HOST, &disabled, &settings(&[])).unwrap().functions.is_empty());
}

#[test]
fn what_the_host_refuses_is_refused_by_name() {
    let queues = |text: &str| HOST.replacen('{', &format!(r#"{{ "extensions": {{ "queues": {{ {text} }} }},"#), 1);
    let hosts = [
        (HOST.replace("2.0", "1.0"), "host.json: version must"),
        (HOST.replace("customHandler", "other"), "host.json: customHandler.description is missing"),
        (HOST.replace("\"handler\"", "\"\""), "host.json: customHandler.description.defaultExecutablePath is empty"),
        (HOST.replace("extensionBundle", "other"), "host.json: extensionBundle is missing"),
        (queues(r#""batchSize": 33"#), "host.json: extensions.queues.batchSize is 33"),
        (queues(r#""newBatchThreshold": -1"#), "host.json: extensions.queues.newBatchThreshold is -1"),
        (queues(r#""maxDequeueCount": 0"#), "host.json: extensions.queues.maxDequeueCount is 0"),
        (queues(r#""maxPollingInterval": "00:00:00.05""#), "host.json: extensions.queues.maxPollingInterval must"),
        (queues(r#""visibilityTimeout": "15s""#), "host.json: extensions.queues.visibilityTimeout is 15s"),
        (queues(r#""messageEncoding": "utf8""#), "host.json: extensions.queues.messageEncoding must"),
        ("{".into(), "is no JSON"),
    ];
    for (host, expected) in hosts {
        let error = read(&host, FUNCTION, &settings(&[])).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let functions = [
        (FUNCTION.replace("queueTrigger", "kafkaTrigger"), "binding type kafkaTrigger is not known"),
        (FUNCTION.replace("%QUEUE%", "%OTHER%"), "'%OTHER%' does not resolve to a value"),
        (FUNCTION.replace("%QUEUE%", "-%QUEUE%"), "-work is no queue name"),
        (FUNCTION.replace("\"Work\"", "\"Elsewhere\""), "set the app setting Elsewhere__queueServiceUri"),
        (FUNCTION.replace("\"msg\"", "\"\""), "bindings[0].name is missing"),
        (FUNCTION.replace("\"in\"", "\"out\""), "bindings[0].direction must"),
        (r#"{ "bindings": [] }"#.into(), "has 0 bindings"),
    ];
    for (function, expected) in functions {
        let error = read(HOST, &function, &settings(&[])).unwrap_err();
        assert!(error.starts_with("sign/function.json: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn names_between_percent_signs_are_expanded() {
    let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
    assert_eq!(expand("x%A%y%B%", &lookup, Unset::Kept), "x1y%B%");
    assert_eq!(expand("x%A%y%B%", &lookup, Unset::Removed), "x1y");
    assert_eq!(expand("100%", &lookup, Unset::Removed), "100%");
}
