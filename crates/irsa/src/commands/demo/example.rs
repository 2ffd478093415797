//! The workload that the demo goes through the procedure with.

pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const NAME: &str = "aws-node";
pub(super) const SELECTOR: &str = "k8s-app=aws-node";
pub(super) const ANNOTATION: &str = "eks.amazonaws.com/sts-regional-endpoints";
pub(super) const VARIABLE: &str = irsa_core::endpoint::ENV;
/// What the newcomer reads is what the demo applies.
pub(super) const MANIFEST: &str = include_str!("../../../../../examples/aws-node.yaml");
