//! The tools that own objects and restore what they wrote, told by the marks that they leave on an object.

use serde_json::Value;

use crate::wire::Strings;

/// What `kubectl apply` wrote last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A tool that restores what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    ArgoCd,
    Flux,
    RancherFleet,
    Helm,
    KubectlApply,
}

impl Tool {
    /// Its name as its users write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ArgoCd => "Argo CD",
            Self::Flux => "Flux",
            Self::RancherFleet => "Fleet",
            Self::Helm => "Helm",
            Self::KubectlApply => "kubectl apply",
        }
    }
}

/// The GitOps controller that keeps an object as a repository says, if its marks are there.
pub(crate) fn gitops(
    has_label: impl Fn(&str) -> bool,
    has_annotation: impl Fn(&str) -> bool,
) -> Option<Tool> {
    if has_annotation("argocd.argoproj.io/tracking-id") || has_label("argocd.argoproj.io/instance") {
        Some(Tool::ArgoCd)
    } else if has_label("kustomize.toolkit.fluxcd.io/name") || has_label("helm.toolkit.fluxcd.io/name") {
        Some(Tool::Flux)
    } else if has_annotation("objectset.rio.cattle.io/id") {
        Some(Tool::RancherFleet)
    } else {
        None
    }
}

/// The tool that wrote the annotation `name`, as far as the object itself shows it.
pub(crate) fn recorded(labels: &Strings<'_>, annotations: &Strings<'_>, name: &str) -> Option<Tool> {
    let gitops = gitops(
        |label| labels.get(label).is_some(),
        |annotation| annotations.get(annotation).is_some(),
    );
    gitops.or_else(|| {
        let helm = annotations.get("meta.helm.sh/release-name").is_some()
            || labels.get("app.kubernetes.io/managed-by") == Some("Helm");
        let applied = || {
            let written: Value = serde_json::from_str(annotations.get(LAST_APPLIED)?).ok()?;
            written["metadata"]["annotations"].get(name).map(drop)
        };
        if helm {
            Some(Tool::Helm)
        } else {
            applied().map(|()| Tool::KubectlApply)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubectl_apply_counts_only_if_it_wrote_the_annotation() {
        let applied = |annotations: Value| {
            let text = json!({"metadata": {"annotations": annotations}}).to_string();
            let annotations: Strings<'_> = [(LAST_APPLIED, text.as_str())].into_iter().collect();
            recorded(&Strings::default(), &annotations, "a/b")
        };
        assert_eq!(applied(json!({"a/b": "true"})), Some(Tool::KubectlApply));
        assert_eq!(applied(json!({"other": "true"})), None);
    }

    #[test]
    fn gitops_controllers_are_told_by_their_labels_and_annotations() {
        let labels: Strings<'_> = [("kustomize.toolkit.fluxcd.io/name", "apps")]
            .into_iter()
            .collect();
        assert_eq!(recorded(&labels, &Strings::default(), "a"), Some(Tool::Flux));
        assert_eq!(
            gitops(|_| false, |key| key == "argocd.argoproj.io/tracking-id"),
            Some(Tool::ArgoCd)
        );
        assert_eq!(gitops(|_| false, |_| false), None);
    }
}
