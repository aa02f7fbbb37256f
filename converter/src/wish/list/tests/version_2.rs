//! Lists with `defaults` and mappings.

use super::*;

#[test]
fn settings_of_images_come_before_defaults() {
    let list = sound(
        "version: 2
cvmfs_repo: containers.example.org
output_format: https://registry.example.org/thin/$(image)
defaults:
  platforms: [linux/amd64, linux/arm64]
  exclude: '*-rc*'
  tags: {newest: 5, max_age: 90d}
  credentials: team
  flat: false
  priority: -1
input:
  - quay.io/org/tool:1
  - quay.io/org/tool:v1.*
  - quay.io/org/tool
  - image: quay.io/org/tool:2
    platforms: all
    credentials: other
    flat: true
    priority: 7
    thin: false
  - image: quay.io/org/other
    platforms: host
    exclude: []
    tags: {semver: '>=1.2, <3', newest: 2}
    thin: https://t.example.org/$(repository):$(tag)
  - {image: quay.io/org/third, tags: ['1.*', '2.*'], platforms: arm64}
",
    );
    let common = "for linux/amd64 linux/arm64 not flat";
    let thin = "thin https://registry.example.org/thin/$(image)";
    let team = "as team priority -1";
    assert_eq!(
        show(&list),
        [
            format!("12: https://quay.io/org/tool:1 {common} {thin} {team}"),
            format!(
                "13: quay.io/org/tool [v1.* without *-rc* newest 5 within 2160 h] {common} {thin} {team}"
            ),
            format!(
                "14: quay.io/org/tool [ without *-rc* newest 5 within 2160 h] {common} {thin} {team}"
            ),
            "15: https://quay.io/org/tool:2 for all as other priority 7".to_owned(),
            "21: quay.io/org/other [ semver >=1.2, <3 newest 2 within 2160 h] not flat thin \
             https://t.example.org/$(repository):$(tag) as team priority -1"
                .to_owned(),
            format!(
                "26: quay.io/org/third [1.*|2.* without *-rc* newest 5 within 2160 h] for linux/arm64 not flat \
                 {thin} {team}"
            ),
        ]
    );
}

#[test]
fn without_defaults() {
    let list = sound(
        "version: 2
input:
  - r.io/a:1
  - image: r.io/b
    tags: '*'
  - image: r.io/b:*
    exclude: ['x', \"y\"]
",
    );
    assert_eq!(show(&list), ["3: https://r.io/a:1", "4: r.io/b [*]", "6: r.io/b [* without x|y]"]);
    assert_eq!((list.user, list.repository), (None, None));
}
