//! INF files: what Setup would write into the registry for an adapter.
//!
//! Only the part of the format that a driver can see the effect of is read:
//! models, the install section with its `AddReg`, `.Services` and `.Wdf`
//! companions, and `Strings`. Pages: "INF AddReg Directive", "INF DDInstall
//! Section", "Specifying Configuration Parameters for the Advanced Properties
//! Page". Stampinf's placeholders are filled in, so that the `.inx` template
//! itself can be used.

mod params;
mod syntax;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use params::{check_param, install_value};
use syntax::{Line, number};

/// A problem in an INF file, with the line it was found on (0: the whole file).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfError {
    /// Line number from 1, or 0 when the error concerns no single line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for InfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "INF: {}", self.message),
            line => write!(f, "INF line {line}: {}", self.message),
        }
    }
}

impl std::error::Error for InfError {}

fn error<T>(line: usize, message: impl Into<String>) -> Result<T, InfError> {
    Err(InfError {
        line,
        message: message.into(),
    })
}

/// A value in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegValue {
    /// REG_SZ or REG_EXPAND_SZ.
    Sz(String),
    /// REG_MULTI_SZ.
    MultiSz(Vec<String>),
    /// REG_DWORD.
    Dword(u32),
    /// REG_BINARY.
    Binary(Vec<u8>),
}

/// The registry's names do not distinguish case.
pub type Values = BTreeMap<String, RegValue>;

/// Finds a value by name as the registry does, without regard to case.
pub fn lookup<'a>(values: &'a Values, name: &str) -> Option<&'a RegValue> {
    values
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Sets a value by name, replacing one whose name differs only in case.
pub fn set(values: &mut Values, name: &str, value: RegValue) {
    values.retain(|key, _| !key.eq_ignore_ascii_case(name));
    values.insert(name.to_owned(), value);
}

/// One advanced property: `Ndi\Params\<name>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Param {
    /// The keyword, with its asterisk if it is a standardized one.
    pub name: String,
    /// What the Advanced page shows.
    pub description: String,
    /// `enum`, `int`, `long`, `word`, `dword` or `edit`.
    pub kind: String,
    /// The value Setup stores when the user has chosen none.
    pub default: Option<String>,
    /// TRUE when the value may be absent.
    pub optional: bool,
    /// Value and text of each choice of an `enum`.
    pub choices: Vec<(String, String)>,
    /// Smallest permitted value of a number.
    pub min: Option<u64>,
    /// Largest permitted value of a number.
    pub max: Option<u64>,
}

/// Everything that installing one device writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// The hardware id this was looked up by.
    pub hardware_id: String,
    /// The device's name for people.
    pub description: String,
    /// The service, and with it the driver file.
    pub service: String,
    /// Last component of `ServiceBinary`.
    pub binary: String,
    /// The adapter's software key: `*IfType` and friends, direct values, and the
    /// defaults of the advanced properties.
    pub adapter: Values,
    /// The service's `Parameters` key.
    pub parameters: Values,
    /// The advanced properties, in the file's order.
    pub params: Vec<Param>,
    /// `KmdfLibraryVersion`, when the driver is a KMDF client.
    pub kmdf: Option<(u32, u32)>,
}

/// A parsed INF file.
#[derive(Clone, Debug)]
pub struct Inf {
    sections: BTreeMap<String, Vec<Line>>,
    strings: BTreeMap<String, String>,
}

/// Values that Stampinf would fill in.
const STAMPS: [(&str, &str); 2] = [("$ARCH$", "amd64"), ("$KMDFVERSION$", "1.33")];

impl Inf {
    /// Reads a file in UTF-8, or in UTF-16 with a byte order mark.
    ///
    /// # Errors
    /// When the file cannot be read, is not text, or breaks the format.
    pub fn load(path: &Path) -> Result<Self, InfError> {
        let bytes = std::fs::read(path).map_err(|e| InfError {
            line: 0,
            message: format!("{}: {e}", path.display()),
        })?;
        let text = match bytes.as_slice() {
            [0xFF, 0xFE, rest @ ..] => {
                let units: Vec<u16> = rest
                    .chunks_exact(2)
                    .map(|b| u16::from_le_bytes([b[0], b[1]]))
                    .collect();
                String::from_utf16(&units).map_err(|e| e.to_string())
            }
            [0xEF, 0xBB, 0xBF, rest @ ..] => {
                String::from_utf8(rest.to_vec()).map_err(|e| e.to_string())
            }
            _ => String::from_utf8(bytes).map_err(|e| e.to_string()),
        }
        .map_err(|message| InfError { line: 0, message })?;
        Self::parse(&text)
    }

    /// Parses the text of an INF file or of a Stampinf template.
    ///
    /// # Errors
    /// When the text breaks the format, or is not for Windows.
    pub fn parse(text: &str) -> Result<Self, InfError> {
        let mut text = text.to_owned();
        for (stamp, value) in STAMPS {
            text = text.replace(stamp, value);
        }
        let sections = syntax::sections(&text)?;
        let mut inf = Self {
            sections,
            strings: BTreeMap::new(),
        };
        for line in inf.sections.get("strings").cloned().unwrap_or_default() {
            let (Some(key), [value]) = (&line.key, line.fields.as_slice()) else {
                return error(line.number, "a string is `name = \"text\"`");
            };
            if inf
                .strings
                .insert(key.to_ascii_lowercase(), value.clone())
                .is_some()
            {
                return error(line.number, format!("the string {key} is defined twice"));
            }
        }
        let signature = inf.version("Signature")?;
        if !["$windows nt$", "$chicago$"].contains(&signature.to_ascii_lowercase().as_str()) {
            return error(
                0,
                format!("Signature {signature:?} is not a Windows signature"),
            );
        }
        Ok(inf)
    }

    /// An entry of the Version section.
    ///
    /// # Errors
    /// When the entry is missing.
    pub fn version(&self, key: &str) -> Result<String, InfError> {
        self.entry("version", key)?.map_or_else(
            || error(0, format!("[Version] has no {key}")),
            |(_, value)| Ok(value),
        )
    }

    /// What installing the device with this hardware id writes.
    ///
    /// # Errors
    /// When no model has the id, or a section that it leads to is missing or wrong.
    pub fn install(&self, hardware_id: &str) -> Result<Install, InfError> {
        let (description, section) = self.model(hardware_id)?;
        let mut install = Install {
            hardware_id: hardware_id.to_owned(),
            description,
            ..Install::default()
        };

        if let Some(line) = self.require(&section)?.iter().find(|l| l.key.is_none()) {
            return error(
                line.number,
                "an install section has only `name = value` entries",
            );
        }
        for key in [
            "Characteristics",
            "BusType",
            "*IfType",
            "*MediaType",
            "*PhysicalMediaType",
            "*NdisDeviceType",
        ] {
            if let Some((line, value)) = self.entry(&section, key)? {
                set(
                    &mut install.adapter,
                    key,
                    RegValue::Dword(number(line, &value)?),
                );
            }
        }
        // "Standardized INF Keywords for Network Devices": without these NDIS
        // does not call MiniportInitializeEx.
        for key in ["*IfType", "*MediaType", "*PhysicalMediaType"] {
            if lookup(&install.adapter, key).is_none() {
                return error(
                    0,
                    format!("[{section}] has no {key}, which NDIS 6 requires"),
                );
            }
        }
        if lookup(&install.adapter, "Characteristics").is_none() {
            return error(0, format!("[{section}] has no Characteristics"));
        }

        let entries = self.add_reg(&section)?;
        let mut params: Vec<Param> = Vec::new();
        for entry in &entries {
            install_value(entry, &mut install.adapter, &mut params)?;
        }
        for param in &params {
            check_param(param)?;
            if let (Some(default), false) = (&param.default, param.optional)
                && lookup(&install.adapter, &param.name).is_none()
            {
                let value = RegValue::Sz(default.clone());
                set(&mut install.adapter, &param.name, value);
            }
        }
        install.params = params;
        self.install_service(&section, &mut install)?;
        Ok(install)
    }

    fn install_service(&self, section: &str, install: &mut Install) -> Result<(), InfError> {
        let services = format!("{section}.services");
        let mut associated = None;
        for line in self.require(&services)? {
            if !line
                .key
                .as_deref()
                .is_some_and(|k| k.eq_ignore_ascii_case("AddService"))
            {
                continue;
            }
            let flags = self.field(line, 1)?;
            // SPSVCINST_ASSOCSERVICE
            if !flags.is_empty() && number(line.number, &flags)? & 2 != 0 {
                associated = Some((line.number, self.field(line, 0)?, self.field(line, 2)?));
            }
        }
        let Some((line, name, section_name)) = associated else {
            return error(0, format!("[{services}] adds no function driver (flag 2)"));
        };
        let Some((_, binary)) = self.entry(&section_name, "ServiceBinary")? else {
            return error(line, format!("[{section_name}] has no ServiceBinary"));
        };
        install.service = name;
        install.binary = binary
            .rsplit(['\\', '/'])
            .next()
            .unwrap_or(&binary)
            .to_owned();
        for entry in self.add_reg(&section_name)? {
            if entry.key.eq_ignore_ascii_case("Parameters") {
                set(&mut install.parameters, &entry.name, entry.value.clone());
            }
        }

        let wdf = format!("{section}.wdf");
        if self.sections.contains_key(&wdf.to_ascii_lowercase()) {
            for line in self.require(&wdf)? {
                if line
                    .key
                    .as_deref()
                    .is_some_and(|k| k.eq_ignore_ascii_case("KmdfService"))
                {
                    let service = self.field(line, 0)?;
                    if !service.eq_ignore_ascii_case(&install.service) {
                        return error(line.number, "KmdfService names another service");
                    }
                    let target = self.field(line, 1)?;
                    let Some((line, version)) = self.entry(&target, "KmdfLibraryVersion")? else {
                        return error(line.number, format!("[{target}] has no KmdfLibraryVersion"));
                    };
                    let parts = version.split_once('.').and_then(|(major, minor)| {
                        Some((major.parse().ok()?, minor.parse().ok()?))
                    });
                    install.kmdf = Some(parts.map_or_else(
                        || error(line, format!("{version:?} is not a version")),
                        Ok,
                    )?);
                }
            }
        }
        Ok(())
    }

    /// Description and install section of a hardware id.
    fn model(&self, hardware_id: &str) -> Result<(String, String), InfError> {
        for line in self.require("manufacturer")? {
            let models = self.field(line, 0)?;
            let decorations: Vec<String> = (1..line.fields.len())
                .map(|i| self.field(line, i))
                .collect::<Result<_, _>>()?;
            let names: Vec<String> = if decorations.is_empty() {
                vec![models]
            } else {
                decorations
                    .iter()
                    .filter(|d| {
                        let arch = d.to_ascii_lowercase();
                        let arch = arch.split('.').next().unwrap_or_default().to_owned();
                        ["nt", "ntamd64"].contains(&arch.as_str())
                    })
                    .map(|d| format!("{models}.{d}"))
                    .collect()
            };
            for name in names {
                for model in self.require(&name)? {
                    let ids: Vec<String> = (1..model.fields.len())
                        .map(|i| self.field(model, i))
                        .collect::<Result<_, _>>()?;
                    if ids.iter().any(|id| id.eq_ignore_ascii_case(hardware_id)) {
                        let Some(key) = &model.key else {
                            return error(model.number, "a model without a description");
                        };
                        let description = self.substitute(model.number, key)?;
                        return Ok((description, self.field(model, 0)?));
                    }
                }
            }
        }
        error(
            0,
            format!("no model has the hardware id {hardware_id} for amd64"),
        )
    }

    fn require(&self, section: &str) -> Result<&[Line], InfError> {
        self.sections
            .get(&section.to_ascii_lowercase())
            .map_or_else(
                || error(0, format!("there is no section [{section}]")),
                |l| Ok(l.as_slice()),
            )
    }

    fn field(&self, line: &Line, index: usize) -> Result<String, InfError> {
        let raw = line.fields.get(index).map_or("", String::as_str);
        self.substitute(line.number, raw)
    }

    fn entry(&self, section: &str, key: &str) -> Result<Option<(usize, String)>, InfError> {
        let found = self.require(section)?.iter().find(|l| {
            l.key
                .as_deref()
                .is_some_and(|k| k.eq_ignore_ascii_case(key))
        });
        found
            .map(|line| Ok((line.number, self.field(line, 0)?)))
            .transpose()
    }

    /// Replaces `%name%` by the string and `%%` by a percent sign.
    fn substitute(&self, line: usize, text: &str) -> Result<String, InfError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let Some(end) = rest.find('%') else {
                return error(
                    line,
                    format!("a percent sign without its partner in {text:?}"),
                );
            };
            let name = &rest[..end];
            rest = &rest[end + 1..];
            if name.is_empty() {
                out.push('%');
            } else if name.parse::<u32>().is_ok() {
                // A directory id stays what it is: %13% is the driver store.
                out.push_str(&format!("%{name}%"));
            } else {
                match self.strings.get(&name.to_ascii_lowercase()) {
                    Some(value) => out.push_str(value),
                    None => return error(line, format!("%{name}% is not in [Strings]")),
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The values that a section's AddReg directives add under HKR.
    fn add_reg(&self, section: &str) -> Result<Vec<Entry>, InfError> {
        let mut entries = Vec::new();
        for directive in self.require(section)? {
            if !directive
                .key
                .as_deref()
                .is_some_and(|k| k.eq_ignore_ascii_case("AddReg"))
            {
                continue;
            }
            for index in 0..directive.fields.len() {
                let name = self.field(directive, index)?;
                for line in self.require(&name)? {
                    if line.key.is_some() {
                        return error(line.number, "an add-registry entry has no `=`");
                    }
                    if let Some(entry) = self.add_reg_entry(line)? {
                        entries.push(entry);
                    }
                }
            }
        }
        Ok(entries)
    }

    /// `reg-root, [subkey], [value-entry-name], [flags], [value]...`
    fn add_reg_entry(&self, line: &Line) -> Result<Option<Entry>, InfError> {
        let root = self.field(line, 0)?;
        match root.to_ascii_uppercase().as_str() {
            "HKR" => {}
            "HKCR" | "HKCU" | "HKLM" | "HKU" => {
                return error(line.number, "a driver package writes only under HKR");
            }
            _ => return error(line.number, format!("{root:?} is not a registry root")),
        }
        let flags = match self.field(line, 3)?.as_str() {
            "" => 0,
            text => number(line.number, text)?,
        };
        const FLG_ADDREG_NOCLOBBER_MASK: u32 = 0x0000_0002;
        const FLG_ADDREG_KEYONLY: u32 = 0x0000_0010;
        const TYPE_MASK: u32 = 0xFFFF_0001;
        if flags & FLG_ADDREG_KEYONLY != 0 {
            return Ok(None);
        }
        let values: Vec<String> = (4..line.fields.len())
            .map(|i| self.field(line, i))
            .collect::<Result<_, _>>()?;
        let one = || match values.as_slice() {
            [] => Ok(String::new()),
            [value] => Ok(value.clone()),
            _ => error(line.number, "more than one value for a string"),
        };
        let value = match flags & TYPE_MASK {
            0x0000_0000 | 0x0002_0000 => RegValue::Sz(one()?),
            0x0001_0000 => RegValue::MultiSz(values.clone()),
            0x0001_0001 => match values.as_slice() {
                [value] => RegValue::Dword(number(line.number, value)?),
                _ => return error(line.number, "a REG_DWORD has one value"),
            },
            0x0000_0001 => RegValue::Binary(
                values
                    .iter()
                    .map(|v| {
                        u8::from_str_radix(v.trim_start_matches("0x"), 16).or_else(|_| {
                            error(line.number, format!("{v:?} is not a byte in hexadecimal"))
                        })
                    })
                    .collect::<Result<_, _>>()?,
            ),
            other => return error(line.number, format!("value type {other:#010x} is unknown")),
        };
        Ok(Some(Entry {
            line: line.number,
            key: self.field(line, 1)?,
            name: self.field(line, 2)?,
            keep: flags & FLG_ADDREG_NOCLOBBER_MASK != 0,
            value,
        }))
    }
}

struct Entry {
    line: usize,
    key: String,
    name: String,
    keep: bool,
    value: RegValue,
}
