//! Dockerfiles, built by the builders of this machine, without a network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod shelf;

use shelf::Bench;
use ward_build::{Error, Outcome};
use ward_types::spec::ImageSource;

const DOCKERFILE: &str = "FROM scratch\nCOPY hello /hello\nENV GREETING=hi\nCMD [\"/hello\"]\n";

fn dockerfile(path: &str) -> ImageSource {
    ImageSource::Dockerfile { path: path.into() }
}

#[tokio::test]
async fn a_dockerfile_is_built_and_the_same_source_gives_the_same_digest() {
    let files = [("docker/Dockerfile", DOCKERFILE), ("hello", "hello")];
    let (here, there) = (Bench::new(&files), Bench::new(&files));
    let first = here.build(dockerfile("docker/Dockerfile")).await.unwrap();
    let config = here.shelf.config(&first);
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["/hello"]));
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    assert!(
        here.output()
            .iter()
            .any(|line| line.contains("COPY hello /hello")),
        "{:?}",
        here.output()
    );
    let again = here.build(dockerfile("docker/Dockerfile")).await.unwrap();
    assert_eq!(
        (&again.digest, again.outcome),
        (&first.digest, Outcome::Unchanged)
    );
    let elsewhere = there.build(dockerfile("docker/Dockerfile")).await.unwrap();
    assert_eq!(
        (&elsewhere.digest, elsewhere.outcome),
        (&first.digest, Outcome::Made)
    );
    here.write("hello", "hello again");
    let changed = here.build(dockerfile("docker/Dockerfile")).await.unwrap();
    assert_ne!(changed.digest, first.digest);
}

#[tokio::test]
async fn a_failing_dockerfile_shows_why() {
    let bench = Bench::new(&[("Dockerfile", "FROM scratch\nCOPY nothing /x\n")]);
    let error = bench.build(dockerfile("Dockerfile")).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    assert!(
        error.output().iter().any(|line| line.contains("nothing")),
        "{error:?}"
    );
    assert!(bench.shelf.manifests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_dockerfile_that_is_missing_or_outside_is_named() {
    let bench = Bench::new(&[]);
    let error = bench.build(dockerfile("Dockerfile")).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("which the key `dockerfile` names"),
        "{error}"
    );
    let error = bench.build(dockerfile("../Dockerfile")).await.unwrap_err();
    assert!(matches!(error, Error::Outside { .. }), "{error}");
}
