//! The Helm chart: linted, rendered for every shape, valid to several versions of Kubernetes, and as it was meant.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{deploy, folder, passed, text, tool};

/// Versions of Kubernetes that the chart is checked against.
const KUBERNETES: [&str; 3] = ["1.31", "1.33", "1.37"];
/// Kinds of operators, of which the schemas of Kubernetes know nothing.
const FOREIGN: [&str; 3] = ["PodMonitor", "PrometheusRule", "ScaledObject"];
/// Values of each shape with everything switched on.
const SWARM: &str = "\
replicas: 5
database: {url: 's3://bucket/prefix', credentialsSecret: bucket-key}
redis: {bundled: true}
slots: 2
drainSeconds: 60
dataRoots: [/data]
extraArgs: [--commit-interval=1s]
extraEnv: [{name: AWS_REGION, value: eu-west-1}]
extraVolumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
extraVolumeMounts: [{name: data, mountPath: /data, readOnly: true}]
grpc: {enabled: true, tlsSecret: tls, tokensSecret: tokens}
metrics: {podMonitor: {enabled: true}, rules: {enabled: true}, dashboards: {enabled: true}}
keda: {enabled: true}
";
const JOB: &str = "\
shape: job
replicas: 8
database: {volume: {nfs: {server: nfs.local, path: /export}}}
redis: {address: 'redis://redis:6379', passwordSecret: redis}
job: {file: 'name = \"a\"'}
";
const DEV: &str = "shape: dev\n";

/// The manifests of a chart with these values.
fn rendered(name: &str, values: &str) -> Vec<Value> {
    let folder = folder(&format!("chart-{name}"));
    let (file, manifests) = (folder.join("values.yaml"), folder.join("manifests.yaml"));
    fs::write(&file, values).unwrap();
    let mut helm = tool("helm");
    helm.args([
        "template",
        "s",
        "--namespace",
        "n",
        "--kube-version",
        "1.33.0",
    ]);
    let told = passed(helm.arg(chart()).arg("--values").arg(file));
    fs::write(&manifests, &told).unwrap();
    as_json(&manifests)
}

fn chart() -> PathBuf {
    deploy("helm/eciton")
}

/// Documents of a YAML file.
pub(crate) fn as_json(file: &PathBuf) -> Vec<Value> {
    let convert = "import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))";
    let mut python = tool("python");
    let told = passed(python.args(["-c", convert]).arg(file));
    serde_json::from_str(&told).unwrap()
}

/// Why Helm refuses these values.
fn refused(name: &str, values: &str) -> String {
    let file = folder(&format!("chart-refused-{name}")).join("values.yaml");
    fs::write(&file, values).unwrap();
    let mut helm = tool("helm");
    helm.args(["template", "s"])
        .arg(chart())
        .arg("--values")
        .arg(file);
    let output = helm.stdout(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "accepted: {values}");
    String::from_utf8(output.stderr).unwrap()
}

/// The only manifest of a kind with such a name.
fn of<'m>(manifests: &'m [Value], kind: &str, name: &str) -> &'m Value {
    let is_it = |found: &&Value| found["kind"] == kind && found["metadata"]["name"] == name;
    let found: Vec<&Value> = manifests.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

fn kinds(manifests: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = manifests
        .iter()
        .map(|found| found["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    kinds
}

/// Pods of a set of manifests.
fn pods(manifests: &[Value]) -> Vec<&Value> {
    let is_pod = |found: &&Value| found["kind"] == "Deployment" || found["kind"] == "Job";
    let all = manifests.iter().filter(is_pod);
    all.map(|found| &found["spec"]["template"]["spec"])
        .collect()
}

/// A manifest is what Kubernetes takes, without an unknown key, and every pod is confined.
fn check(name: &str, manifests: &[Value]) {
    let folder = folder(&format!("chart-check-{name}"));
    for (number, manifest) in manifests.iter().enumerate() {
        let kind = manifest["kind"].as_str().unwrap();
        let file = folder.join(format!("{number}-{kind}.yaml"));
        fs::write(&file, manifest.to_string()).unwrap();
    }
    let files: Vec<PathBuf> = manifests
        .iter()
        .enumerate()
        .filter(|(_, manifest)| !FOREIGN.contains(&manifest["kind"].as_str().unwrap()))
        .map(|(number, manifest)| {
            folder.join(format!(
                "{number}-{}.yaml",
                manifest["kind"].as_str().unwrap()
            ))
        })
        .collect();
    for version in KUBERNETES {
        let mut validate = tool("kubernetes-validate");
        passed(validate.args(["--strict", "-k", version]).args(&files));
    }
    for pod in pods(manifests) {
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
            "{name}"
        );
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{name}"
            );
            let mounts = container["volumeMounts"].as_array().unwrap();
            for mount in mounts {
                let is_it = |volume: &&Value| volume["name"] == mount["name"];
                let volumes = pod["volumes"].as_array().unwrap();
                assert_eq!(volumes.iter().filter(is_it).count(), 1, "{name}: {mount}");
            }
        }
    }
}

fn args(container: &Value) -> Vec<&str> {
    let args = container["args"].as_array().unwrap().iter();
    args.map(|arg| arg.as_str().unwrap()).collect()
}

/// The value of a variable of a container.
fn variable<'c>(container: &'c Value, name: &str) -> &'c Value {
    let variables = container["env"].as_array().unwrap();
    let found = variables.iter().find(|variable| variable["name"] == name);
    found.unwrap_or(&Value::Null)
}

#[test]
fn the_chart_is_clean_and_its_small_values_are_small() {
    let values = deploy("helm/values-small.yaml");
    let mut helm = tool("helm");
    helm.args(["lint", "--strict"]).arg(chart());
    passed(helm.arg("--values").arg(&values));
    let small = text("helm/values-small.yaml");
    assert!(small.lines().count() <= 10, "{small}");
    let manifests = rendered("small", &small);
    check("small", &manifests);
    let mut expected = [
        "Deployment",
        "Deployment",
        "NetworkPolicy",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Secret",
        "Secret",
        "Service",
        "ServiceAccount",
    ];
    expected.sort_unstable();
    assert_eq!(kinds(&manifests), expected);
    // The chart has its own copies, so that it can be packed.
    let same = [
        ("prometheus/recording.yaml", "recording.yaml"),
        ("prometheus/alerts.yaml", "alerts.yaml"),
        ("grafana/swarm.json", "swarm.json"),
        ("grafana/engine.json", "engine.json"),
        ("grafana/storage.json", "storage.json"),
    ];
    for (original, copy) in same {
        let file = chart().join("files").join(copy);
        if std::env::var_os(crate::dashboards::RENEW).is_some() {
            fs::copy(deploy(original), &file).unwrap();
        }
        let copied = fs::read_to_string(file).unwrap_or_default();
        assert!(
            copied == text(original),
            "helm/eciton/files/{copy} is not {original}: cargo xtask renew-dashboards"
        );
    }
}

#[test]
fn a_swarm_has_all_that_production_asks_for() {
    let manifests = rendered("swarm", SWARM);
    check("swarm", &manifests);
    let workers = of(&manifests, "Deployment", "s-eciton");
    assert_eq!(workers["spec"].get("replicas"), None, "KEDA sets it");
    assert_eq!(
        workers["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"],
        0
    );
    let pod = &workers["spec"]["template"]["spec"];
    // The time to drain, ten seconds more, and those of preStop.
    assert_eq!(pod["terminationGracePeriodSeconds"], 75);
    let worker = &pod["containers"][0];
    let args = args(worker);
    for arg in [
        "worker",
        "--create",
        "--metrics=0.0.0.0:9100",
        "--metrics-token-file=/secrets/metrics/token",
        "--drain=60s",
        "--log-format=json",
        "--slots=2",
        "--listen=0.0.0.0:7711",
        "--advertise=$(POD_IP):7711",
        "--tls-cert=/secrets/tls/tls.crt",
        "--tokens=/secrets/tokens/tokens",
        "--data-root=/data",
        "--commit-interval=1s",
    ] {
        assert!(args.contains(&arg), "{arg}: {args:?}");
    }
    assert!(!args.contains(&"--insecure"), "{args:?}");
    assert_eq!(worker["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(worker["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(worker["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    assert_eq!(worker["envFrom"][0]["secretRef"]["name"], "bucket-key");
    assert_eq!(variable(worker, "ECITON_DB")["value"], "s3://bucket/prefix");
    assert_eq!(
        variable(worker, "ECITON_REDIS")["value"],
        "redis://s-eciton-redis:6379"
    );
    let password = &variable(worker, "ECITON_REDIS_PASSWORD")["valueFrom"]["secretKeyRef"];
    assert_eq!(password["name"], "s-eciton-redis");
    assert_eq!(
        pod["topologySpreadConstraints"][0]["topologyKey"],
        "kubernetes.io/hostname"
    );
    let monitor = of(&manifests, "PodMonitor", "s-eciton");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["honorLabels"], true);
    assert_eq!(
        endpoint["authorization"]["credentials"]["name"],
        "s-eciton-metrics"
    );
    let labels: Vec<&str> = endpoint["relabelings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["targetLabel"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["job", "database", "instance"]);
    let scaled = of(&manifests, "ScaledObject", "s-eciton");
    let query = &scaled["spec"]["triggers"][0]["metadata"]["query"];
    assert!(
        query.as_str().unwrap().contains("eciton_job_shards_left"),
        "{query}"
    );
    let redis = of(&manifests, "NetworkPolicy", "s-eciton-redis");
    assert_eq!(redis["spec"]["egress"], json!([]));
    let dashboards = of(&manifests, "ConfigMap", "s-eciton-dashboards");
    assert_eq!(dashboards["metadata"]["labels"]["grafana_dashboard"], "1");
    for (name, dashboard) in dashboards["data"].as_object().unwrap() {
        let parsed: Value = serde_json::from_str(dashboard.as_str().unwrap()).unwrap();
        assert!(name.contains(parsed["uid"].as_str().unwrap()), "{name}");
    }
    // The rules survive the chart: they have templates of their own.
    let rules = of(&manifests, "PrometheusRule", "s-eciton");
    let file = folder("chart-rules").join("rules.yaml");
    fs::write(&file, rules["spec"].to_string()).unwrap();
    passed(tool("promtool").args(["check", "rules"]).arg(file));
    assert!(rules.to_string().contains("{{ $labels.job }}"), "{rules}");
}

#[test]
fn the_number_of_workers_follows_the_processors_where_that_is_wanted() {
    let values = format!(
        "{}autoscaling: {{enabled: true, minReplicas: 2, maxReplicas: 9}}\n",
        SWARM.replace("keda: {enabled: true}\n", "")
    );
    let manifests = rendered("hpa", &values);
    check("hpa", &manifests);
    let scaler = of(&manifests, "HorizontalPodAutoscaler", "s-eciton");
    let spec = &scaler["spec"];
    assert_eq!(
        (&spec["minReplicas"], &spec["maxReplicas"]),
        (&json!(2), &json!(9))
    );
    let told = refused("both", &format!("{values}keda: {{enabled: true}}\n"));
    assert!(told.contains("expected one of them"), "{told}");
}

/// Only workers tell how many shards are left: with none of them nothing would ever start one.
#[test]
fn a_swarm_that_scales_by_its_shards_keeps_a_worker() {
    let values = SWARM.replace(
        "keda: {enabled: true}",
        "keda: {enabled: true, minReplicas: 0}",
    );
    assert_ne!(values, SWARM);
    let told = refused("no-worker", &values);
    assert!(told.contains("minReplicas"), "{told}");
    let manifests = rendered("one-worker", SWARM);
    let scaler = of(&manifests, "ScaledObject", "s-eciton");
    assert_eq!(scaler["spec"]["minReplicaCount"], 1);
}

#[test]
fn a_job_is_run_by_pods_that_end_with_it() {
    let manifests = rendered("job", JOB);
    check("job", &manifests);
    let mut expected = [
        "ConfigMap",
        "Job",
        "NetworkPolicy",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "ServiceAccount",
    ];
    expected.sort_unstable();
    assert_eq!(kinds(&manifests), expected);
    let job = &of(&manifests, "Job", "s-eciton")["spec"];
    assert_eq!(job["completionMode"], "Indexed");
    assert_eq!(
        (&job["completions"], &job["parallelism"]),
        (&json!(8), &json!(8))
    );
    assert_eq!(
        job["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"],
        json!([1, 2])
    );
    let worker = &job["template"]["spec"]["containers"][0];
    assert_eq!(args(worker), ["run", "/job/job.toml", "--json"]);
    assert_eq!(variable(worker, "ECITON_DB")["value"], "/db/db");
    let volume = of(&manifests, "PersistentVolume", "n-s-eciton-nfs");
    let options = &volume["spec"]["mountOptions"];
    assert!(
        options.to_string().contains("lookupcache=positive"),
        "{options}"
    );
    let file = of(&manifests, "ConfigMap", "s-eciton-job");
    assert_eq!(
        file["data"]["job.toml"].as_str().unwrap().trim(),
        "name = \"a\""
    );
}

#[test]
fn a_worker_for_development_stands_alone() {
    let manifests = rendered("dev", DEV);
    check("dev", &manifests);
    assert_eq!(
        kinds(&manifests),
        ["Deployment", "NetworkPolicy", "Secret", "ServiceAccount"]
    );
    let workers = of(&manifests, "Deployment", "s-eciton");
    assert_eq!(workers["spec"]["replicas"], 1);
    assert_eq!(workers["spec"]["strategy"]["type"], "Recreate");
    let pod = &workers["spec"]["template"]["spec"];
    assert_eq!(
        variable(&pod["containers"][0], "ECITON_REDIS"),
        &Value::Null
    );
    let database = pod["volumes"].as_array().unwrap().iter();
    let mut database = database.filter(|volume| volume["name"] == "database");
    assert_eq!(database.next().unwrap()["emptyDir"], json!({}));
}

#[test]
fn values_that_cannot_be_are_refused_with_a_reason() {
    let volume = "database: {volume: {size: 1Gi}}\n";
    for (values, reason) in [
        (
            "redis: {bundled: true}\n",
            "needs a database that all pods see",
        ),
        (volume, "need Redis"),
        (
            "database: {url: 's3://b/p', volume: {size: 1Gi}}\n",
            "found several",
        ),
        ("database: {url: '/folder'}\n", "database"),
        ("shape: cluster\n", "shape"),
        ("shape: dev\nreplica: 3\n", "replica"),
        ("shape: dev\ngrpc: {enabled: true}\n", "tlsSecret"),
        ("shape: job\ndatabase: {url: 's3://b/p'}\n", "job.file"),
        ("shape: dev\ndrainSeconds: -1\n", "drainSeconds"),
        (
            "shape: dev\nredis: {bundled: true, address: 'redis://a'}\n",
            "redis",
        ),
    ] {
        let told = refused("values", values);
        assert!(told.contains(reason), "{values}: {told}");
    }
}

/// What a user is told to type is what the chart has made.
#[test]
fn the_notes_name_what_was_installed() {
    let folder = folder("chart-notes");
    for (values, words) in [
        (SWARM, "deployment/s-eciton"),
        (JOB, "job/s-eciton"),
        (DEV, "gone with its pod"),
    ] {
        let file = folder.join("values.yaml");
        fs::write(&file, values).unwrap();
        let mut helm: Command = tool("helm");
        helm.args(["install", "s", "--dry-run=client", "--namespace", "n"]);
        let told = passed(helm.arg(chart()).arg("--values").arg(file));
        let (_, notes) = told.split_once("NOTES:").unwrap();
        assert!(notes.contains(words), "{notes}");
    }
}
