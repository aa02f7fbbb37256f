//! A registry in this process: all blobs, and tags that move.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use layer_layout::{Digest, RegistryReference};

use crate::TAGS;
use crate::image::{self, Image};

/// It ends with the process.
pub(crate) struct Registry {
    port: u16,
    /// Which image each tag leads to.
    tags: Arc<Mutex<[usize; TAGS]>>,
}

/// What it serves.
struct Content {
    images: Vec<Image>,
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let tags = Arc::new(Mutex::new([0; TAGS]));
        let images: Vec<_> = (0..image::NUMBER).map(Image::new).collect();
        let mut blobs = BTreeMap::new();
        for image in &images {
            for blob in image.layers.iter().chain([&image.config]) {
                blobs.insert(Digest::of(blob).to_string(), blob.clone());
            }
        }
        let (content, served) = (Arc::new(Content { images, blobs }), Arc::clone(&tags));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (content, tags) = (Arc::clone(&content), Arc::clone(&served));
                std::thread::spawn(move || serve(&stream, &content, &tags));
            }
        });
        Self { port, tags }
    }

    /// The reference of a tag.
    pub(crate) fn reference(&self, tag: usize) -> RegistryReference {
        let text = format!("http://127.0.0.1:{}/org/tool:{tag}", self.port);
        let layer_layout::ImageReference::Registry(reference) = text.parse().unwrap() else {
            panic!("{text} is no reference to a registry")
        };
        reference
    }

    /// Which image a tag leads to.
    pub(crate) fn image(&self, tag: usize) -> usize {
        self.tags.lock().unwrap()[tag]
    }

    pub(crate) fn move_tag(&self, tag: usize, image: usize) {
        self.tags.lock().unwrap()[tag] = image;
    }
}

/// Answers the requests of a connection until its peer goes away.
fn serve(
    mut stream: &TcpStream,
    content: &Content,
    tags: &Mutex<[usize; TAGS]>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(request) = lines.next().transpose()? {
        while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let name = path.rsplit('/').next().unwrap_or_default();
        let tagged = || content.images.get(tags.lock().unwrap()[name.parse::<usize>().ok()?]);
        let manifest = |image: &Image| Digest::of(&image.manifest).to_string() == name;
        let found = if path.contains("/manifests/") {
            let named = content.images.iter().find(|image| manifest(image)).or_else(tagged);
            named.map(|image| &image.manifest)
        } else {
            content.blobs.get(name)
        };
        let (status, body) = found.map_or(("404 Not Found", &b""[..]), |body| ("200 OK", body));
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\n\
             Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n",
            body.len(),
            Digest::of(body)
        );
        stream.write_all(head.as_bytes())?;
        if method != "HEAD" {
            stream.write_all(body)?;
        }
    }
    Ok(())
}
