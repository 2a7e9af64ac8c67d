//! Certificates for the servers of tests: a good one, and one for each way in which a certificate can be bad.
//!
//! Made anew for each run of the tests. The invariant: the bad ones differ from the good one in one respect only.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// Where the servers of tests listen.
const ADDRESS: &str = "127.0.0.1";

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing.
    None,
    /// An authority has signed it that nobody knows.
    Stranger,
    /// Its time is over.
    Expired,
    /// It is another server's.
    OtherName,
}

impl Flaw {
    /// All, the good one first.
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Stranger, Self::Expired, Self::OtherName];

    /// A word for names of files and listeners.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "good",
            Self::Stranger => "stranger",
            Self::Expired => "expired",
            Self::OtherName => "other",
        }
    }
}

/// The files of one run.
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes an authority and what it has signed, and one that nobody knows.
    pub(crate) fn make() -> Self {
        let directory = tempfile::Builder::new().prefix("aggregator-certificates-").tempdir().unwrap();
        let (known, pem) = authority("the authority of the tests");
        let (unknown, _) = authority("an authority that nobody knows");
        let certificates = Self { directory };
        fs::write(certificates.authority(), pem).unwrap();
        for flaw in Flaw::ALL {
            let issuer = if flaw == Flaw::Stranger { &unknown } else { &known };
            let key = KeyPair::generate().unwrap();
            let certificate = params(flaw).signed_by(&key, issuer).unwrap().pem();
            fs::write(certificates.certificate(flaw), &certificate).unwrap();
            fs::write(certificates.key(flaw), key.serialize_pem()).unwrap();
            fs::write(certificates.both(flaw), key.serialize_pem() + &certificate).unwrap();
        }
        certificates
    }

    /// The file that clients trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.file("authority", "pem")
    }

    /// A server's certificate.
    pub(crate) fn certificate(&self, flaw: Flaw) -> PathBuf {
        self.file(flaw.word(), "crt")
    }

    /// The key of that certificate.
    pub(crate) fn key(&self, flaw: Flaw) -> PathBuf {
        self.file(flaw.word(), "key")
    }

    /// Key and certificate in one file.
    pub(crate) fn both(&self, flaw: Flaw) -> PathBuf {
        self.file(flaw.word(), "pem")
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        let folder: &Path = self.directory.path();
        folder.join(name).with_extension(extension)
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

fn params(flaw: Flaw) -> CertificateParams {
    let name = if flaw == Flaw::OtherName { "elsewhere.example" } else { ADDRESS };
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a server of the tests");
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(if flaw == Flaw::Expired { 2021 } else { 2096 }, 1, 1);
    params
}
