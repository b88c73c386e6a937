//! Sources beside files of the machine, from the command line.

use crate::support::{Place, aggregation, measurements};

/// A job over the results of another one.
const OVER: &str = "name = \"over\"\n[source]\nformat = \"store\"\nstore = \"stations\"\n[transform]\n\
                    sql = \"SELECT count(*) AS stations FROM source\"\n";

#[test]
fn the_records_of_a_store_are_planned_and_run() {
    let place = Place::new();
    place.write("a.csv", measurements(500));
    place.write("job.toml", aggregation("2KiB"));
    place.write("over.toml", OVER);
    // Without a database there is nothing to read.
    place
        .call(&["plan", "over.toml"])
        .with_code(2)
        .told(&["not a database"]);
    place
        .call(&["run", "over.toml"])
        .with_code(2)
        .told(&["over.toml:4: key `source.store`", "store `stations`"]);
    place.call(&["run", "job.toml"]).done();
    let stations = place.records("stations").lines().count();
    let planned = place.call(&["plan", "over.toml"]).done();
    assert!(
        planned
            .stdout
            .contains(&format!("store, {stations} records")),
        "{}",
        planned.stdout
    );
    assert!(
        planned.stdout.contains("of the store"),
        "{}",
        planned.stdout
    );
    place.call(&["run", "over.toml"]).done();
    let answer = place.records("over");
    assert!(
        answer.contains(&format!("\"stations\":{stations}")),
        "{answer}"
    );
}
