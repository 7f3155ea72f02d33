//! Advanced properties: the `Ndi\\Params` entries of an INF.

use super::{Entry, InfError, Param, RegValue, Values, error, lookup, set};

/// Adds what an AddReg entry says to the adapter's values or to its properties.
pub(super) fn install_value(
    entry: &Entry,
    adapter: &mut Values,
    params: &mut Vec<Param>,
) -> Result<(), InfError> {
    if entry.key.is_empty() {
        if !(entry.keep && lookup(adapter, &entry.name).is_some()) {
            set(adapter, &entry.name, entry.value.clone());
        }
        return Ok(());
    }
    let parts: Vec<&str> = entry.key.split('\\').collect();
    let (name, of_enum) = match parts.as_slice() {
        [ndi, key, name]
            if ndi.eq_ignore_ascii_case("Ndi") && key.eq_ignore_ascii_case("Params") =>
        {
            (*name, false)
        }
        [ndi, key, name, list]
            if ndi.eq_ignore_ascii_case("Ndi")
                && key.eq_ignore_ascii_case("Params")
                && list.eq_ignore_ascii_case("Enum") =>
        {
            (*name, true)
        }
        _ => return Ok(()),
    };
    let index = match params
        .iter()
        .position(|p| p.name.eq_ignore_ascii_case(name))
    {
        Some(index) => index,
        None => {
            params.push(Param {
                name: name.to_owned(),
                ..Param::default()
            });
            params.len() - 1
        }
    };
    let param = &mut params[index];
    let RegValue::Sz(text) = &entry.value else {
        return error(entry.line, "an advanced property is described by strings");
    };
    if of_enum {
        param.choices.push((entry.name.clone(), text.clone()));
        return Ok(());
    }
    let integer = || {
        text.parse::<u64>()
            .or_else(|_| error(entry.line, format!("{text:?} is not a decimal number")))
    };
    match entry.name.to_ascii_lowercase().as_str() {
        "paramdesc" => param.description.clone_from(text),
        "type" => param.kind = text.to_ascii_lowercase(),
        "default" => param.default = Some(text.clone()),
        "optional" => param.optional = text == "1",
        "min" => param.min = Some(integer()?),
        "max" => param.max = Some(integer()?),
        "step" | "base" | "limittext" | "uppercase" | "flag" | "helpfile" | "helpcontext" => {}
        other => {
            return error(
                entry.line,
                format!("{other:?} describes no advanced property"),
            );
        }
    }
    Ok(())
}

pub(super) fn check_param(param: &Param) -> Result<(), InfError> {
    let name = &param.name;
    if param.description.is_empty() {
        return error(0, format!("Ndi\\Params\\{name} has no ParamDesc"));
    }
    match param.kind.as_str() {
        "enum" => {
            if param.choices.is_empty() {
                return error(0, format!("Ndi\\Params\\{name} is an enum without choices"));
            }
            match &param.default {
                Some(default) if param.choices.iter().any(|(value, _)| value == default) => Ok(()),
                Some(default) => error(
                    0,
                    format!("the default {default} of {name} is not one of its choices"),
                ),
                None if param.optional => Ok(()),
                None => error(0, format!("Ndi\\Params\\{name} has no Default")),
            }
        }
        "int" | "long" | "word" | "dword" => {
            let default = match &param.default {
                Some(default) => default
                    .parse::<u64>()
                    .or_else(|_| error(0, format!("the default of {name} is not a number")))?,
                None if param.optional => return Ok(()),
                None => return error(0, format!("Ndi\\Params\\{name} has no Default")),
            };
            let (Some(min), Some(max)) = (param.min, param.max) else {
                return error(0, format!("Ndi\\Params\\{name} has no Min or no Max"));
            };
            if !(min..=max).contains(&default) {
                return error(0, format!("the default of {name} is outside Min..Max"));
            }
            Ok(())
        }
        "edit" => Ok(()),
        other => error(
            0,
            format!("Ndi\\Params\\{name} has the unknown Type {other:?}"),
        ),
    }
}
