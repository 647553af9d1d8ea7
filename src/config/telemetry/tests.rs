//! What is taken, what is refused and by which name, and that no secret is told.

use super::*;

fn variables(set: &[(&str, &str)]) -> Variables {
    Variables::of(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn settings(table: &str, set: &[(&str, &str)]) -> Result<Settings, String> {
    let table: Telemetry = toml::from_str(table).map_err(|e| e.to_string())?;
    Settings::of(Some(&table), variables(set)).map_err(|failure| {
        assert_eq!(failure.code, Code::Config);
        failure.detail
    })
}

#[track_caller]
fn refused(table: &str, set: &[(&str, &str)], name: &str, why: &str) {
    let said = settings(table, set).expect_err("is refused");
    assert!(said.starts_with(name) && said.contains(why), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn without_an_endpoint_nothing_is_exported() {
    let settings = settings("", &[]).expect("is fine");
    assert_eq!(settings.endpoint, None);
    let numbers = (settings.sample_ratio, settings.remote_per_second, settings.ends_per_second, settings.identify);
    assert_eq!(numbers, (0.1, 10, 10, false));
    assert_eq!(settings.resource["service.name"], "writ");
    assert_eq!(settings.resource["service.version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn each_key_has_its_variable_which_goes_first() {
    let table = r#"
        endpoint = "https://in.file:1"
        protocol = "grpc"
        service_name = "file"
        service_version = "1"
        environment = "file"
        sample_ratio = 0.5
        batch_timeout_ms = 7
        metrics_interval_ms = 700
        ca_file = "ca"
        certificate_file = "certificate"
        key_file = "key"
        remote_per_second = 1
        ends_per_second = 2
        slow_ms = 3
        identify = true
        [headers]
        a = { file = "a" }
    "#;
    let file = settings(table, &[]).expect("is fine");
    assert_eq!(file.endpoint.as_ref().map(ToString::to_string).as_deref(), Some("https://in.file:1"));
    assert_eq!((file.sample_ratio, file.batch_timeout.as_millis(), file.metrics_interval.as_millis()), (0.5, 7, 700));
    assert_eq!((file.remote_per_second, file.ends_per_second, file.identify), (1, 2, true));
    assert_eq!(file.slow.as_millis(), 3);
    assert_eq!(file.headers["a"], Header::At(Secret::File("a".into())));
    let set = settings(
        table,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://[::1]:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_SERVICE_NAME", "set"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=less,deployment.environment.name=s%20et,host.name=h"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_SCHEDULE_DELAY", "8"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "800"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/set/ca"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/set/certificate"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/set/key"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20hunter2, b=c"),
        ],
    )
    .expect("is fine");
    assert_eq!(set.endpoint.as_ref().map(ToString::to_string).as_deref(), Some("https://[::1]:4317"));
    assert_eq!((set.sample_ratio, set.batch_timeout.as_millis(), set.metrics_interval.as_millis()), (0.25, 8, 800));
    let resource: Vec<(&str, &str)> =
        set.resource.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("deployment.environment.name", "s et"),
        ("host.name", "h"),
        ("service.name", "set"),
        ("service.version", "1"),
    ];
    assert_eq!(resource, expected);
    let ca = NamedFile { by: "OTEL_EXPORTER_OTLP_CERTIFICATE", path: "/set/ca".into() };
    assert_eq!(set.tls.ca, Some(ca));
    assert_eq!(set.headers["authorization"], Header::Held(Zeroizing::new("Bearer hunter2".to_owned())));
    assert!(!format!("{set:?}").contains("hunter2"), "{set:?}");
}

#[test]
fn the_table_is_written_as_it_was_read_and_paths_are_relative_to_its_folder() {
    let text = "sample_ratio = 0.5\nca_file = \"ca\"\n\n[headers.a]\nfile = \"a\"\n";
    let table: Telemetry = toml::from_str(text).expect("a table");
    assert_eq!(toml::to_string(&table).as_deref(), Ok(text));
    let within = table.within(Path::new("/etc/writ"));
    assert_eq!(within.ca_file.as_deref(), Some(Path::new("/etc/writ/ca")));
    assert_eq!(within.headers["a"], Property::Secret(Secret::File("/etc/writ/a".into())));
    let table: Telemetry = toml::from_str("headers.a = { command = [\"x\"] }").expect("a table");
    assert!(table.names_commands());
}

#[test]
fn an_endpoint_is_a_url_with_a_host() {
    for wrong in [
        "not a url",
        "collector:4317",
        "ftp://collector:4317",
        "http://",
        "http://:4317",
        "https://collector:99999",
        "https://collector:0",
        "https://collector:",
        "http://collector:4317/v1/traces",
        "http://collector:4317?a=b",
        "http://me:hunter2@collector:4317",
        "http://a b:1",
    ] {
        refused(&format!("endpoint = {wrong:?}"), &[], "telemetry.endpoint: ", "");
        refused("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)], "OTEL_EXPORTER_OTLP_ENDPOINT: ", "");
    }
    for (given, insecure, taken) in [
        ("http://collector:4317/", None, "http://collector:4317"),
        ("HTTPS://collector", None, "https://collector"),
        ("collector:4317", Some("true"), "http://collector:4317"),
        ("collector:4317", Some("false"), "https://collector:4317"),
        ("http://127.0.0.1:1", Some("TRUE"), "http://127.0.0.1:1"),
    ] {
        let insecure = insecure.unwrap_or_default();
        let set = [("OTEL_EXPORTER_OTLP_ENDPOINT", given), ("OTEL_EXPORTER_OTLP_INSECURE", insecure)];
        let endpoint = settings("", &set).expect("is fine").endpoint.expect("one");
        assert_eq!(endpoint.to_string(), taken);
    }
    refused("endpoint = \"https://a:1\"\ninsecure = true", &[], "telemetry.insecure: ", "contradicts");
    refused("endpoint = \"http://a:1\"\ninsecure = false", &[], "telemetry.insecure: ", "contradicts");
}

#[test]
fn certificates_belong_to_tls_and_to_each_other() {
    for key in ["ca_file = \"x\"", "certificate_file = \"x\"\nkey_file = \"y\""] {
        refused(&format!("endpoint = \"http://a:1\"\n{key}"), &[], "telemetry.", "asked without TLS");
    }
    refused("certificate_file = \"x\"", &[], "telemetry.certificate_file: ", "key_file");
    refused("", &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "y")], "OTEL_EXPORTER_OTLP_CLIENT_KEY: ", "certificate_file");
}

#[test]
fn numbers_have_their_ranges() {
    for wrong in ["nan", "1.5", "-1.0", "inf"] {
        refused(&format!("sample_ratio = {wrong}"), &[], "telemetry.sample_ratio: ", "0 to 1");
    }
    let sampler = |argument: &'static str| {
        [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", argument)]
    };
    for wrong in ["NaN", "1.5", "-1", "x"] {
        refused("", &sampler(wrong), "OTEL_TRACES_SAMPLER_ARG: ", "");
    }
    for (name, ratio) in [("parentbased_always_on", 1.0), ("parentbased_always_off", 0.0)] {
        assert_eq!(settings("", &[("OTEL_TRACES_SAMPLER", name)]).expect("is fine").sample_ratio, ratio);
    }
    refused("", &[("OTEL_TRACES_SAMPLER", "always_on")], "OTEL_TRACES_SAMPLER: ", "always_on");
    refused("", &[("OTEL_TRACES_SAMPLER_ARG", "0.5")], "OTEL_TRACES_SAMPLER_ARG: ", "only with");
    for (key, variable) in
        [("batch_timeout_ms", "OTEL_BSP_SCHEDULE_DELAY"), ("metrics_interval_ms", "OTEL_METRIC_EXPORT_INTERVAL")]
    {
        for wrong in ["0", "99999999", "-1", "1.5", "x"] {
            refused("", &[(variable, wrong)], variable, "milliseconds");
        }
        refused(&format!("{key} = 0"), &[], &format!("telemetry.{key}: "), "milliseconds");
        assert!(settings(&format!("{key} = -1"), &[]).is_err());
    }
    refused("slow_ms = 0", &[], "telemetry.slow_ms: ", "milliseconds");
    for key in ["remote_per_second", "ends_per_second"] {
        refused(&format!("{key} = 10001"), &[], &format!("telemetry.{key}: "), "0 to 10000");
    }
}

#[test]
fn headers_are_secrets_and_no_error_tells_one() {
    refused("headers.a = \"hunter2\"", &[], "telemetry.headers.a: ", "a secret");
    refused("headers.te = { file = \"x\" }", &[], "telemetry.headers: ", "te is not to be set");
    refused("headers.\"a b\" = { file = \"x\" }", &[], "telemetry.headers: ", "a name");
    refused("headers.a = { file = \"x\" }\nheaders.A = { file = \"x\" }", &[], "telemetry.headers: ", "twice");
    for wrong in [
        "hunter2",
        "a=hunter2%",
        "a=hunter2%0a",
        "a=hunter2%ff",
        "a=hunter2%zz",
        "a=",
        "=hunter2",
        "grpc-timeout=hunter2",
        "a-bin=hunter2",
        "a=hunter2,a=hunter2",
    ] {
        refused("", &[(headers::VARIABLE, wrong)], headers::VARIABLE, "");
    }
}

#[test]
fn what_is_not_taken_is_refused_or_named() {
    let export = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1");
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=hunter2"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_LOGS_EXPORTER", "console"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "1"),
        ("OTEL_CONFIG_FILE", "x.yaml"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
    ] {
        refused("", &[export, (name, value)], &format!("{name}: "), "not taken");
        // Nothing is exported that it could change.
        assert_eq!(settings("", &[(name, value)]).expect("is fine").not_taken, [name]);
    }
    for (name, value) in [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_SDK_DISABLED", "maybe")] {
        refused("", &[(name, value)], &format!("{name}: "), "is to be");
    }
    refused("protocol = \"http/json\"", &[], "telemetry.protocol: ", "grpc");
    let set = [
        export,
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_PROPAGATORS", "tracecontext"),
        ("OTEL_LOG_LEVEL", "debug"),
        ("OTEL_SERVICE_NAME", ""),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
    ];
    let settings = settings("", &set).expect("is fine");
    assert_eq!(settings.not_taken, ["OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_LOG_LEVEL"]);
    assert_eq!(settings.resource["service.name"], "writ");
}

#[test]
fn of_propagators_baggage_is_named_since_it_is_not_passed_on() {
    let export = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1");
    let settings = settings("", &[export, ("OTEL_PROPAGATORS", "tracecontext, baggage")]).expect("is fine");
    assert_eq!(settings.not_taken, ["OTEL_PROPAGATORS"]);
    refused("", &[export, ("OTEL_PROPAGATORS", "baggage")], "OTEL_PROPAGATORS: ", "tracecontext");
}

#[test]
fn what_is_disabled_exports_nothing() {
    let table = "endpoint = \"http://a:1\"";
    assert_eq!(settings(table, &[("OTEL_SDK_DISABLED", "true")]).expect("is fine").endpoint, None);
    assert_eq!(settings(&format!("{table}\nenabled = false"), &[]).expect("is fine").endpoint, None);
    let on = settings(&format!("{table}\nenabled = false"), &[("OTEL_SDK_DISABLED", "false")]).expect("is fine");
    assert!(on.endpoint.is_some());
}
