//! Texts of all sorts, the same ones in each run but for the certificates.

use rcgen::{CertificateParams, DnType, KeyPair};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey;
use rsa::rand_core::OsRng;

use super::super::LONGEST;
use super::{Kind, Random, text};
use crate::keys::tests::KEYS;

/// What is compressed, and what it is called if it comes out wrong.
pub(super) type Text = (String, Vec<u8>);

const KINDS: [Kind; 6] =
    [Kind::Base64, Kind::Few, Kind::Noise, Kind::Runs, Kind::Copies, Kind::Skewed];

/// All texts of the corpus, each short enough.
pub(super) fn texts() -> Vec<Text> {
    let all = [certificates(), lengths(), repetitions(), alphabets(), frequencies(), mixtures()];
    let mut texts = all.concat();
    for (_, text) in &mut texts {
        text.truncate(LONGEST - 1);
    }
    texts
}

/// What the stream is written for: certificates and keys as they stand in files.
fn certificates() -> Vec<Text> {
    let publisher = KEYS.publisher().unwrap();
    let mut texts = vec![
        ("the publisher's certificate".to_owned(), publisher.certificate.pem().to_vec()),
        ("the publisher's key".to_owned(), publisher.key.pem().to_vec()),
    ];
    let rsa = [2048, 3072, 4096].map(|bits| {
        let key = RsaPrivateKey::new(&mut OsRng, bits).unwrap().to_pkcs8_der().unwrap();
        KeyPair::try_from(key.as_bytes())
    });
    let elliptic =
        [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384].map(KeyPair::generate_for);
    let mut chain = String::new();
    for pair in rsa.into_iter().chain(elliptic).map(Result::unwrap) {
        texts.push((format!("a key: {:?}", pair.algorithm()), pair.serialize_pem().into_bytes()));
        for alternative_names in [0, 1, 40] {
            let names =
                (0..alternative_names).map(|number| format!("stratum-{number}.example.org"));
            let mut form = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
            form.distinguished_name.push(DnType::CommonName, "x".repeat(1 + alternative_names));
            let pem = form.self_signed(&pair).unwrap().pem();
            chain += &pem;
            let name = format!("a certificate: {:?}, {alternative_names} names", pair.algorithm());
            texts.push((name, pem.into_bytes()));
        }
        texts.push((format!("a chain of {} bytes", chain.len()), chain.clone().into_bytes()));
    }
    texts
}

/// Every short length, where the choice between the sorts of blocks changes, and the longest ones, which nearly fill
/// zlib's buffer for one block.
fn lengths() -> Vec<Text> {
    let few = 0..=300;
    let powers = (9..14).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
    let most = LONGEST - 8..LONGEST;
    let lengths: Vec<usize> = few.chain(powers).chain(most).collect();
    let all = KINDS.iter().flat_map(|&kind| lengths.iter().map(move |&length| (kind, length)));
    all.map(|(kind, length)| (format!("{kind:?}, {length}"), text(kind, length))).collect()
}

/// Matches of every length around the limits of the search, at every distance around its limits.
fn repetitions() -> Vec<Text> {
    let mut texts = Vec::new();
    let noise = text(Kind::Noise, LONGEST);
    for length in (0..40).chain(120..140).chain(250..270).chain(510..530).chain([1000, 16_000]) {
        texts.push((format!("a run of {length}"), vec![b'r'; length]));
        for period in [2, 3, 5] {
            let text = noise[..period].iter().copied().cycle().take(length).collect();
            texts.push((format!("{length} bytes with a period of {period}"), text));
        }
    }
    let near = (1..40).chain([255, 256, 257, 1023, 1024, 1025]);
    let far = (4093..4100).chain([8191, 8192, 8193, 16_000]);
    for distance in near.chain(far) {
        for length in [3, 4, 5, 8, 16, 17, 32, 127, 128, 129, 257, 258, 259] {
            let mut text = noise[..distance].to_vec();
            for at in 0..length {
                text.push(text[at]);
            }
            text.extend_from_slice(b"end");
            texts.push((format!("{length} bytes again, {distance} behind"), text));
        }
    }
    // Better matches that begin a byte later, or two: the lazy search takes the first or waits.
    for first in 3..20 {
        for second in first..24 {
            let (a, b) = (&noise[1000..1000 + first], &noise[1001..1001 + second]);
            let text = [a, b"--", b, b"--", &a[..1], b, b"--", a, b].concat();
            texts.push((format!("{first} or {second} bytes again"), text));
        }
    }
    // More places with the same three bytes than are looked at.
    for places in [31, 32, 33, 127, 128, 129, 130, 400] {
        let pieces =
            (0..places).map(|place| [b"abc".as_slice(), &noise[place * 3..][..3]].concat());
        let mut text = pieces.collect::<Vec<_>>().concat();
        let start = text[..9].to_vec();
        text.extend(start);
        texts.push((format!("{places} places to look at"), text));
    }
    texts
}

/// Every number of symbols that come equally often, next to each other and with gaps: lengths of codes that repeat, and
/// stretches of symbols without a code.
fn alphabets() -> Vec<Text> {
    let mut texts = Vec::new();
    let mut random = Random(1);
    for size in 1..=256 {
        for often in [1, 3] {
            let mut text = Vec::new();
            for symbol in (0..size).flat_map(|symbol| vec![symbol; often]) {
                text.push(symbol as u8);
            }
            shuffle(&mut text, &mut random);
            texts.push((format!("{size} symbols, each {often} times"), text));
        }
        let gap = 1 + random.below(256 / size);
        let mut text: Vec<u8> = (0..size).map(|number| (number * gap) as u8).collect();
        text.extend_from_within(..);
        shuffle(&mut text, &mut random);
        texts.push((format!("{size} symbols with gaps of {gap}"), text));
    }
    for seed in 0..200 {
        let mut random = Random(seed);
        let used: Vec<u8> = (0..=255).filter(|_| random.below(4) == 0).collect();
        if !used.is_empty() {
            let text = (0..50 + random.below(1500)).map(|_| used[random.below(used.len())]);
            texts.push((format!("some of the symbols, {seed}"), text.collect()));
        }
    }
    texts
}

/// Symbols that come more and less often: codes of all lengths, also those that would be too long.
fn frequencies() -> Vec<Text> {
    let mut texts = Vec::new();
    for seed in 0..150 {
        let mut random = Random(seed);
        let size = 2 + random.below(30);
        let first = random.below(200);
        // Each symbol this many tenths as often as the one before, or about as often.
        let tenths = 3 + random.below(8);
        let mut often = 6000;
        let mut text = Vec::new();
        for symbol in 0..size {
            let count = 1 + often + random.below(3);
            text.extend(std::iter::repeat_n((first + symbol) as u8, count));
            often = often * tenths / 10;
        }
        shuffle(&mut text, &mut random);
        text.truncate(1 + random.below(LONGEST));
        texts.push((format!("skewed, {seed}"), text));
    }
    // The distances of matches and the codes for lengths of codes are skewed, too.
    for seed in 0..60 {
        let mut random = Random(seed);
        let noise = text(Kind::Noise, 3000 + seed as usize * 200);
        let mut text = noise.clone();
        let (mut count, mut next, mut distance) = (1, 1, 3000);
        while distance > 4 && text.len() < LONGEST {
            for _ in 0..count {
                let start = text.len() - distance;
                text.extend_from_within(start..start + 4 + random.below(3));
            }
            (count, next, distance) = (next, count + next, distance * 2 / 3);
        }
        texts.push((format!("skewed distances, {seed}"), text));
    }
    texts
}

/// What stands in files: some of everything.
fn mixtures() -> Vec<Text> {
    const WORDS: [&str; 12] = [
        "the ",
        "repository ",
        "of ",
        "a ",
        "catalog",
        "\n",
        "  - ",
        "key: ",
        "0x",
        "}",
        ", ",
        "MII",
    ];
    let mut texts = Vec::new();
    for seed in 0..1000 {
        let mut random = Random(seed);
        let long = if seed % 25 == 0 { LONGEST } else { 1500 };
        let size = random.below(long);
        let mut mixed: Vec<u8> = Vec::new();
        while mixed.len() < size {
            match random.below(8) {
                0 => {
                    let kind = KINDS[random.below(KINDS.len())];
                    mixed.extend(text(kind, random.below(200)));
                }
                1 => {
                    let byte = random.below(256) as u8;
                    mixed.extend(std::iter::repeat_n(byte, random.below(600)));
                }
                2..5 if mixed.len() > 4 => {
                    let from = random.below(mixed.len());
                    let to = (from + 3 + random.below(300)).min(mixed.len());
                    mixed.extend_from_within(from..to);
                }
                5 => mixed.push(random.below(256) as u8),
                _ => mixed.extend(WORDS[random.below(WORDS.len())].bytes()),
            }
        }
        mixed.truncate(size);
        texts.push((format!("a mixture, {seed}"), mixed));
    }
    texts
}

fn shuffle(text: &mut [u8], random: &mut Random) {
    for last in (1..text.len()).rev() {
        text.swap(last, random.below(last + 1));
    }
}
