//! The catalogue itself: data only.

use super::Check::{
    Audience, Clock, Endpoint, Issuer, Network, Permissions, Program, Provider, Region, RoleArn, Stale,
    TokenFile, Trust, Url, Webhook,
};
use super::{Entry, Origin};

/// Every error that is known, those of the procedure first.
pub static CATALOGUE: [Entry; 56] = [
    Entry {
        id: "scope-region",
        origin: Origin::Sts,
        code: Some("SignatureDoesNotMatch"),
        texts: &[
            "Credential should be scoped to a valid region, not '{}'.",
            "Credential should be scoped to a valid region.",
        ],
        meaning: "The credential scope of a signed call (GetCallerIdentity or AssumeRole, but not \
                  AssumeRoleWithWebIdentity, which is not signed) contains another region than the STS host \
                  accepts: sts.amazonaws.com accepts us-east-1 only, and a regional host accepts its own \
                  region only. This happens when a program, AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL sets \
                  the endpoint while the client uses another region.",
        checks: &[Endpoint, Program],
        cures: &[
            "Remove the endpoint URL and let the SDK find the endpoint.",
            "Use the URL of the client's region, https://sts.REGION.amazonaws.com.",
            "If the global endpoint is required, set the region of this STS client to us-east-1.",
            "Changing the service account's annotation alone does not help, because the scope remains the \
             client's region.",
        ],
    },
    Entry {
        id: "scope-service",
        origin: Origin::Sts,
        code: None,
        texts: &["Credential should be scoped to correct service: 'sts'."],
        meaning: "The request was signed for another service than STS, usually by a proxy or by custom \
                  signing code.",
        checks: &[Program],
        cures: &["Sign for the service `sts`."],
    },
    Entry {
        id: "no-provider",
        origin: Origin::Sts,
        code: Some("InvalidIdentityToken"),
        texts: &["No OpenIDConnect provider found in your account for {}"],
        meaning: "The role's account has no IAM OIDC provider for the issuer of the pod's token. The issuer \
                  must match exactly, including its path and case.",
        checks: &[Provider, Issuer],
        cures: &[
            "Create the OIDC provider for exactly this issuer in the role's account.",
            "If the cluster was recreated, its issuer has changed as well: replace the provider and the \
             trust policies.",
        ],
    },
    Entry {
        id: "audience",
        origin: Origin::Sts,
        code: None,
        texts: &["Incorrect token audience"],
        meaning: "The token's audience is not one of the client IDs of the IAM OIDC provider.",
        checks: &[Audience],
        cures: &[
            "Add the audience (normally sts.amazonaws.com) to the provider's client IDs.",
            "Or correct the annotation eks.amazonaws.com/audience of the service account and recreate its pods.",
        ],
    },
    Entry {
        id: "keys-unreachable",
        origin: Origin::Sts,
        code: None,
        texts: &[
            "Couldn't retrieve verification key from your identity provider, please reference \
             AssumeRoleWithWebIdentity documentation for requirements",
        ],
        meaning: "STS cannot fetch the issuer's discovery document or keys from the internet, or the \
                  token's key ID is not among the keys.",
        checks: &[Issuer],
        cures: &[
            "Make ISSUER/.well-known/openid-configuration and the jwks_uri in it publicly readable over \
             HTTPS.",
            "Publish the keys that the API server signs with (`kubectl get --raw /openid/v1/jwks`).",
        ],
    },
    Entry {
        id: "not-a-jwt",
        origin: Origin::Sts,
        code: None,
        texts: &["The ID Token provided is not a valid JWT."],
        meaning: "The value sent as the token is not a valid token: for example an empty or truncated file, \
                  a path instead of the content, or another kind of token.",
        checks: &[TokenFile],
        cures: &[
            "Set AWS_WEB_IDENTITY_TOKEN_FILE to the path of the projected token, and read the file for each \
             call.",
        ],
    },
    Entry {
        id: "thumbprint",
        origin: Origin::Sts,
        code: None,
        texts: &["OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint"],
        meaning: "The certificate of the issuer's host is not signed by a root CA that AWS trusts, and does \
                  not match the provider's thumbprint.",
        checks: &[Provider, Issuer],
        cures: &["Update the thumbprint, or use a certificate of a public CA for the issuer's host."],
    },
    Entry {
        id: "missing-claim",
        origin: Origin::Sts,
        code: None,
        texts: &["Missing a required claim: {}"],
        meaning: "The token has no `iat`, `exp` or `sub` claim, so it is not a projected service account \
                  token.",
        checks: &[TokenFile],
        cures: &["Use the projected token, not the token of a Secret."],
    },
    Entry {
        id: "token-expired",
        origin: Origin::Sts,
        code: Some("ExpiredTokenException"),
        texts: &[
            "Token expired: current date/time {} must be before the expiration date/time {}",
            "Token too old: {}",
        ],
        meaning: "The service account token has expired. The kubelet renews the file, but a program that \
                  reads it only once, or uses a copy, keeps the old token.",
        checks: &[TokenFile, Clock],
        cures: &[
            "Read the token file for each exchange, as current SDKs do.",
            "Mount the token's volume without `subPath`, because such a mount is never updated.",
        ],
    },
    Entry {
        id: "web-identity-denied",
        origin: Origin::Sts,
        code: Some("AccessDenied"),
        texts: &["Not authorized to perform sts:AssumeRoleWithWebIdentity"],
        meaning: "The trust policy does not match (wrong `sub`, that is, namespace or name of the service \
                  account, wrong `aud`, or another provider), or the role does not exist or is in another \
                  account or partition. AWS returns the same text for all of these.",
        checks: &[Trust, RoleArn, Provider],
        cures: &[
            "Check that the condition ISSUER:sub matches system:serviceaccount:NAMESPACE:NAME exactly.",
            "Use StringLike instead of StringEquals if the condition contains wildcards.",
            "Check the role's ARN in the annotation: account, partition, name and path.",
        ],
    },
    Entry {
        id: "assume-role-denied",
        origin: Origin::Sts,
        code: None,
        texts: &["User: {} is not authorized to perform: sts:AssumeRole on resource: {}"],
        meaning: "The exchange of the pod's token succeeded, but the program may not assume a second role.",
        checks: &[Trust, Permissions],
        cures: &[
            "Allow sts:AssumeRole in the policy of the first role, and allow the first role in the trust \
             policy of the second one.",
            "If the user in the message is the node's role, the pod has no identity of its own: see \
             `node-role`.",
        ],
    },
    Entry {
        id: "region-disabled",
        origin: Origin::Sts,
        code: Some("RegionDisabledException"),
        texts: &["STS is not activated in this region for account:{}"],
        meaning: "STS is deactivated in this region for the account, or this opt-in region is not enabled.",
        checks: &[Region],
        cures: &[
            "Activate STS for the region in the IAM console (Account settings), and enable the region if it \
             is an opt-in region.",
            "Until then, use the global endpoint or another region for pods in this region.",
        ],
    },
    Entry {
        id: "signature-expired",
        origin: Origin::Sts,
        code: None,
        texts: &[
            "Signature expired: {} is now earlier than {}",
            "Signature not yet current: {} is still later than {}",
        ],
        meaning: "The time of the signature differs from the time at AWS by more than 15 minutes, because \
                  of a wrong clock, a presigned request that is too old, or a proxy that delays requests.",
        checks: &[Clock],
        cures: &[
            "Correct the node's clock (chrony with 169.254.169.123 on EC2).",
            "Create a new presigned URL.",
        ],
    },
    Entry {
        id: "signature-wrong",
        origin: Origin::Service,
        code: None,
        texts: &["The request signature we calculated does not match the signature you provided."],
        meaning: "The secret key does not belong to the key ID, or the request was changed after it was \
                  signed, for example by a proxy, a redirect to another host, or a path that was encoded \
                  again.",
        checks: &[Program, Url],
        cures: &[
            "Use the key ID, secret key and session token of the same credentials.",
            "Do not follow redirects with a presigned URL: the host is signed.",
        ],
    },
    Entry {
        id: "client-token-invalid",
        origin: Origin::Service,
        code: Some("InvalidClientTokenId"),
        texts: &[
            "The security token included in the request is invalid",
            "AWS was not able to validate the provided access credentials",
        ],
        meaning: "The key ID is not known: it was deleted, belongs to another partition, or was sent \
                  without its session token, or the session token was issued by the global endpoint \
                  (version 1) and is used in an opt-in region.",
        checks: &[Endpoint],
        cures: &[
            "Use the regional endpoint, whose tokens are valid in every region.",
            "Or set the account's global endpoint tokens to version 2 (`aws iam set-security-token-service-preferences \
             --global-endpoint-token-version v2Token`).",
        ],
    },
    Entry {
        id: "session-expired",
        origin: Origin::Service,
        code: Some("ExpiredToken"),
        texts: &[
            "The security token included in the request is expired",
            "The provided token has expired.",
        ],
        meaning: "The session of the role has expired and the program did not renew it, or the session with \
                  which a URL was presigned has expired.",
        checks: &[Program, Url],
        cures: &[
            "Let the default credential chain of the SDK obtain the credentials; do not copy them.",
            "Create a new presigned URL.",
        ],
    },
    Entry {
        id: "missing-authentication",
        origin: Origin::Service,
        code: Some("MissingAuthenticationToken"),
        texts: &["Request is missing Authentication Token"],
        meaning: "The request was not signed at all.",
        checks: &[Program],
        cures: &["Sign all requests except AssumeRoleWithWebIdentity and AssumeRoleWithSAML."],
    },
    Entry {
        id: "idp-communication",
        origin: Origin::Sts,
        code: Some("IDPCommunicationError"),
        texts: &["IDPCommunicationError"],
        meaning: "STS temporarily could not reach the issuer. Most SDKs retry automatically.",
        checks: &[Issuer],
        cures: &["Try again. If the error persists, check the host that serves the issuer's documents."],
    },
    Entry {
        id: "idp-rejected",
        origin: Origin::Sts,
        code: Some("IDPRejectedClaim"),
        texts: &["IDPRejectedClaim"],
        meaning: "STS did not accept the identity in the token.",
        checks: &[Trust, TokenFile],
        cures: &["Compare the token's claims with the trust policy."],
    },
    Entry {
        id: "role-arn-invalid",
        origin: Origin::Sts,
        code: None,
        texts: &[
            "Request ARN is invalid",
            "Value '{}' at 'roleArn' failed to satisfy constraint",
            "Value at 'roleArn' failed to satisfy constraint",
        ],
        meaning: "The ARN in AWS_ROLE_ARN is not the ARN of a role: for example, it has an additional colon \
                  or no account, or it is the ARN of a policy.",
        checks: &[RoleArn],
        cures: &[
            "Correct the annotation eks.amazonaws.com/role-arn: arn:aws:iam::ACCOUNT:role/NAME, and recreate the pods.",
        ],
    },
    Entry {
        id: "session-name-invalid",
        origin: Origin::Sts,
        code: None,
        texts: &["Value '{}' at 'roleSessionName' failed to satisfy constraint"],
        meaning: "The session name contains characters other than letters, digits and `_+=,.@-`, or is \
                  longer than 64 characters.",
        checks: &[Program],
        cures: &["Correct AWS_ROLE_SESSION_NAME, or remove it."],
    },
    Entry {
        id: "duration",
        origin: Origin::Sts,
        code: None,
        texts: &[
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            "at 'durationSeconds' failed to satisfy constraint",
        ],
        meaning: "The program requests a longer (or shorter) session than the role allows. A role that is \
                  assumed with the session of another role is limited to one hour.",
        checks: &[Program],
        cures: &["Request a shorter session, or increase the role's MaxSessionDuration (up to 12 hours)."],
    },
    Entry {
        id: "policy-too-large",
        origin: Origin::Sts,
        code: Some("PackedPolicyTooLarge"),
        texts: &["Packed policy consumes {}% of allotted space, please use smaller policy."],
        meaning: "The session policies and tags exceed the size limit of the session token.",
        checks: &[Program],
        cures: &["Use fewer or shorter session policies and tags."],
    },
    Entry {
        id: "throttled",
        origin: Origin::Sts,
        code: Some("Throttling"),
        texts: &["Rate exceeded"],
        meaning: "Too many calls. The global endpoint and each region have separate quotas; pods that call \
                  the global endpoint share one.",
        checks: &[Endpoint],
        cures: &[
            "Use regional endpoints, which distribute the load.",
            "Cache credentials until they expire instead of requesting them for each call.",
        ],
    },
    Entry {
        id: "variable-refused",
        origin: Origin::Sdk,
        code: Some("InvalidSTSRegionalEndpointsConfigError"),
        texts: &[
            "STS regional endpoints option {} is invalid. Valid options are: \"legacy\", \"regional\"",
            "invalid AWS_STS_REGIONAL_ENDPOINTS environmental variable. Expect \"legacy\" or \"regional\". Got \"{}\".",
            "AWS_STS_REGIONAL_ENDPOINTS from env config, unable to resolve the value of STSRegionalEndpoint for {}",
            "Unexpected value set for AWS_STS_REGIONAL_ENDPOINTS environment variable: '{}'",
            "Configuration parameter must either be 'legacy' or 'regional'.",
        ],
        meaning: "AWS_STS_REGIONAL_ENDPOINTS has a value that the SDK rejects. Only `regional` and `legacy` \
                  are accepted by all SDKs that read the variable; `global` is not, although it is \
                  documented. From botocore 1.29, every client of every service fails; in Go v1, the whole \
                  session does.",
        checks: &[Endpoint],
        cures: &[
            "Use `legacy` for the global endpoint, and `regional` for the regional one.",
            "Let the webhook set the value (`irsa set`), and remove it from the pod's manifest.",
        ],
    },
    Entry {
        id: "s3-variable-refused",
        origin: Origin::Sdk,
        code: Some("InvalidS3UsEast1RegionalEndpointConfigError"),
        texts: &[
            "S3 us-east-1 regional endpoint option {} is invalid. Valid options are: \"legacy\", \"regional\"",
        ],
        meaning: "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT has a value that boto3 rejects, so every S3 client \
                  fails.",
        checks: &[Endpoint],
        cures: &["Use `legacy` or `regional`, or remove the variable. An empty value is also rejected."],
    },
    Entry {
        id: "region-missing",
        origin: Origin::Sdk,
        code: Some("MissingRegion"),
        texts: &[
            "Region is missing",
            "Missing region in config",
            "Invalid Configuration: Missing Region",
            "You must specify a region.",
            "an AWS region is required, but was not found",
            "Unable to load region from any of the providers in the chain",
            "Unable to find a region via the region provider chain.",
            "No RegionEndpoint or ServiceURL configured",
            "No region was provided. Configure the `:region` option or export the region name to ENV['AWS_REGION']",
            "missing region; use :region option or export region name to ENV['AWS_REGION']",
            "A region must be set when sending requests to S3.",
            "could not find region configuration",
        ],
        meaning: "The SDK cannot determine the region. boto3 and AWS CLI v1 only read AWS_DEFAULT_REGION, \
                  and JavaScript and Java only read AWS_REGION, so a pod needs both.",
        checks: &[Endpoint, Webhook],
        cures: &[
            "Set both AWS_REGION and AWS_DEFAULT_REGION. The webhook does this if it knows the region.",
            "If a container sets one of them, the webhook of `irsa` adds the other one; the Go webhook does \
             not.",
        ],
    },
    Entry {
        id: "region-malformed",
        origin: Origin::Sdk,
        code: Some("InvalidRegionError"),
        texts: &["Provided region_name '{}' doesn't match a supported format."],
        meaning: "The region contains spaces, quotes or other characters that are not allowed in a host \
                  name.",
        checks: &[Endpoint],
        cures: &["Correct AWS_DEFAULT_REGION. The most common cause is quotes within the value."],
    },
    Entry {
        id: "fips-and-endpoint",
        origin: Origin::Sdk,
        code: None,
        texts: &[
            "Invalid Configuration: FIPS and custom endpoint are not supported",
            "Invalid Configuration: Dualstack and custom endpoint are not supported",
        ],
        meaning: "AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT cannot be combined with an endpoint \
                  URL.",
        checks: &[Endpoint],
        cures: &[
            "Remove one of the two. AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true ignores URLs in the \
             environment.",
        ],
    },
    Entry {
        id: "global-unreachable",
        origin: Origin::Network,
        code: None,
        texts: &[
            "Connect timeout on endpoint URL: \"https://sts.amazonaws.com/\"",
            "Could not connect to the endpoint URL: \"https://sts.amazonaws.com/\"",
            "Post \"https://sts.amazonaws.com/\": dial tcp",
        ],
        meaning: "The pod calls the global endpoint from a network that cannot reach it. An interface VPC \
                  endpoint only covers sts.REGION.amazonaws.com.",
        checks: &[Endpoint, Network],
        cures: &[
            "Switch the service account to regional (`irsa set regional`) and recreate its pods (`irsa rollout`).",
            "If it is already regional, check whether the SDK reads the region variable that is set.",
        ],
    },
    Entry {
        id: "regional-unreachable",
        origin: Origin::Network,
        code: None,
        texts: &[
            "Connect timeout on endpoint URL: \"https://sts.{}.amazonaws.com/\"",
            "Could not connect to the endpoint URL: \"https://sts.{}.amazonaws.com/\"",
            "Post \"https://sts.{}.amazonaws.com/\": dial tcp",
        ],
        meaning: "The regional endpoint cannot be reached: there is neither a NAT gateway nor an interface \
                  endpoint, the security group of the endpoint does not allow the pods to connect to port \
                  443, or the region does not exist.",
        checks: &[Network, Endpoint],
        cures: &[
            "Create the interface endpoint com.amazonaws.REGION.sts with private DNS, and allow connections \
             from the pods' addresses.",
            "Check the region in the host name.",
        ],
    },
    Entry {
        id: "fips-unresolvable",
        origin: Origin::Network,
        code: None,
        texts: &[
            "Could not connect to the endpoint URL: \"https://sts-fips.{}.amazonaws.com/\"",
            "lookup sts-fips.{}.amazonaws.com",
        ],
        meaning: "STS has FIPS endpoints only in the four US regions and in GovCloud, but SDKs construct \
                  the host name for any region.",
        checks: &[Endpoint],
        cures: &["Remove AWS_USE_FIPS_ENDPOINT for pods in other regions."],
    },
    Entry {
        id: "host-unknown",
        origin: Origin::Network,
        code: None,
        texts: &[
            "lookup sts.{} no such host",
            "getaddrinfo ENOTFOUND sts.{}",
            "Could not resolve host: sts.{}",
        ],
        meaning: "The STS host name does not resolve, because the region does not exist or because of a \
                  problem with the cluster's DNS.",
        checks: &[Network, Endpoint],
        cures: &[
            "Check the region variables of the pod.",
            "Check CoreDNS and, with private DNS, the VPC endpoint.",
        ],
    },
    Entry {
        id: "certificate-name",
        origin: Origin::Network,
        code: None,
        texts: &[
            "certificate is valid for {}, not sts.amazonaws.com",
            "Hostname/IP does not match certificate's altnames: Host: sts.amazonaws.com",
            "hostname 'sts.amazonaws.com' doesn't match",
        ],
        meaning: "DNS resolves sts.amazonaws.com to a VPC endpoint, whose certificate only covers the \
                  regional name.",
        checks: &[Endpoint],
        cures: &["Remove the DNS record and use the regional endpoint."],
    },
    Entry {
        id: "no-credentials",
        origin: Origin::Sdk,
        code: Some("NoCredentialProviders"),
        texts: &[
            "Unable to locate credentials",
            "no valid providers in chain",
            "Missing credentials in config",
            "Could not load credentials from any providers",
            "Unable to load AWS credentials from any provider in the chain",
            "Unable to load credentials from any of the providers in the chain",
            "the credential provider was not enabled",
        ],
        meaning: "The SDK found no credentials: the webhook did not change the pod, the pod is older than \
                  the annotation, or the SDK is too old for web identity tokens. JavaScript v2 returns this \
                  text for every failure of the exchange.",
        checks: &[Stale, Webhook],
        cures: &[
            "Recreate the pod. If it still has no AWS_ROLE_ARN, the webhook was not called: run `irsa \
             doctor`.",
            "Update the SDK if it is older than September 2019.",
        ],
    },
    Entry {
        id: "node-role",
        origin: Origin::Service,
        code: None,
        texts: &[
            "assumed-role/{}/i-{} is not authorized to perform",
            "assumed-role/{}/i-{} is not authorized to access",
        ],
        meaning: "The session name is the ID of an instance, so the pod uses the role of its node, because \
                  it has no identity of its own. With failurePolicy Ignore, a failed call to the webhook is \
                  not reported.",
        checks: &[Stale, Webhook],
        cures: &[
            "Recreate the pod and check whether it has AWS_ROLE_ARN (`irsa status` lists pods without it).",
            "Set the metadata hop limit of the instances to 1, so that pods cannot use the node's role.",
        ],
    },
    Entry {
        id: "token-unreadable",
        origin: Origin::Sdk,
        code: None,
        texts: &[
            "open /var/run/secrets/eks.amazonaws.com/serviceaccount/token: permission denied",
            "Permission denied: '/var/run/secrets/eks.amazonaws.com/serviceaccount/token'",
            "EACCES: permission denied, open '/var/run/secrets/eks.amazonaws.com/serviceaccount/token'",
        ],
        meaning: "The container's user cannot read the token. Since Kubernetes 1.19, the file belongs to \
                  the user in `runAsUser`; the kubelet does not know a user that is only set in the image.",
        checks: &[TokenFile],
        cures: &["Set securityContext.runAsUser or fsGroup in the pod."],
    },
    Entry {
        id: "token-missing",
        origin: Origin::Sdk,
        code: None,
        texts: &[
            "open /var/run/secrets/eks.amazonaws.com/serviceaccount/token: no such file or directory",
            "No such file or directory: '/var/run/secrets/eks.amazonaws.com/serviceaccount/token'",
            "ENOENT: no such file or directory, open '/var/run/secrets/eks.amazonaws.com/serviceaccount/token'",
        ],
        meaning: "The variables are set, but the volume is not mounted: the variables are part of the \
                  manifest, or the webhook skipped the container.",
        checks: &[Webhook, TokenFile],
        cures: &[
            "Remove AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE from the manifest, so that the webhook \
             adds them together with the volume.",
        ],
    },
    Entry {
        id: "webhook-unreachable",
        origin: Origin::Kubernetes,
        code: None,
        texts: &[
            "failed calling webhook \"{}pod-identity-webhook{}\": failed to call webhook",
            "failed calling webhook \"iam-for-pods.amazonaws.com\"",
            "failed calling webhook \"{}irsa{}\": failed to call webhook",
        ],
        meaning: "The API server could not call the webhook. With failurePolicy Ignore, the pod starts \
                  without an identity; with Fail, it does not start.",
        checks: &[Webhook, Network],
        cures: &[
            "Run `irsa doctor`, which shows the step that fails (service, endpoints, certificate, network \
             policy).",
        ],
    },
    Entry {
        id: "webhook-certificate",
        origin: Origin::Kubernetes,
        code: None,
        texts: &[
            "failed calling webhook {} x509: certificate signed by unknown authority",
            "failed calling webhook {} x509: certificate has expired or is not yet valid",
        ],
        meaning: "The caBundle of the MutatingWebhookConfiguration does not contain the CA that signed the \
                  webhook's certificate, or the certificate has expired.",
        checks: &[Webhook],
        cures: &["Renew the certificate and set its CA in the caBundle; `irsa doctor` compares the two."],
    },
    Entry {
        id: "webhook-version",
        origin: Origin::Kubernetes,
        code: None,
        texts: &["expected webhook response of admission.k8s.io/v1"],
        meaning: "An old release of the Go webhook, which is registered for AdmissionReview v1, responds \
                  without an apiVersion.",
        checks: &[Webhook],
        cures: &[
            "Register it for v1beta1, or use a webhook that responds with the version of the request, \
                  such as `irsa webhook`.",
        ],
    },
    Entry {
        id: "token-too-short",
        origin: Origin::Kubernetes,
        code: None,
        texts: &["may not specify a duration less than 10 minutes"],
        meaning: "The lifetime of a projected token must be at least 600 seconds.",
        checks: &[Webhook],
        cures: &["Set the annotation eks.amazonaws.com/token-expiration to 600 or more."],
    },
    Entry {
        id: "s3-region",
        origin: Origin::S3,
        code: Some("AuthorizationHeaderMalformed"),
        texts: &["the region '{}' is wrong; expecting '{}'"],
        meaning: "The request was signed for another region than that of the bucket.",
        checks: &[Url],
        cures: &[
            "Create the S3 client with the region of the bucket, which is the second region in the \
                  message.",
        ],
    },
    Entry {
        id: "s3-permanent-redirect",
        origin: Origin::S3,
        code: Some("PermanentRedirect"),
        texts: &["The bucket you are attempting to access must be addressed using the specified endpoint."],
        meaning: "The request was sent to the host of another region than that of the bucket.",
        checks: &[Url],
        cures: &["Use the bucket's region, which `aws s3api get-bucket-location --bucket BUCKET` shows."],
    },
    Entry {
        id: "s3-temporary-redirect",
        origin: Origin::S3,
        code: Some("TemporaryRedirect"),
        texts: &["Please re-send this request to the specified temporary endpoint."],
        meaning: "The bucket is new and its name has not propagated yet. The global host redirects the \
                  request, which breaks a presigned URL because its host is signed.",
        checks: &[Url],
        cures: &[
            "Create the presigned URL for the host of the bucket's region (`irsa url predict` shows \
                  how with each SDK).",
        ],
    },
    Entry {
        id: "s3-location",
        origin: Origin::S3,
        code: Some("IllegalLocationConstraintException"),
        texts: &[
            "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
        ],
        meaning: "The bucket is in a region launched after 2019-03-20, for which the global host does not \
                  redirect requests.",
        checks: &[Url],
        cures: &[
            "Create the presigned URL for the host of the bucket's region: in boto3, with the \
                  addressing_style `virtual`.",
        ],
    },
    Entry {
        id: "url-expired",
        origin: Origin::S3,
        code: None,
        texts: &["Request has expired"],
        meaning: "The presigned URL has expired.",
        checks: &[Url],
        cures: &[
            "Create a new presigned URL, with a longer validity if necessary (at most 7 days, and not \
                  longer than the session).",
        ],
    },
    Entry {
        id: "sigv2-refused",
        origin: Origin::S3,
        code: None,
        texts: &[
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ],
        meaning: "The URL has a signature of version 2, which is still the default of boto3, and the region \
                  only accepts version 4.",
        checks: &[Url],
        cures: &["Create the client with Config(signature_version='s3v4')."],
    },
    Entry {
        id: "url-parameters",
        origin: Origin::S3,
        code: Some("AuthorizationQueryParametersError"),
        texts: &[
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
             X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            "X-Amz-Expires must be less than a week (in seconds)",
        ],
        meaning: "Parameters of the signature are missing or out of range. The most common cause is an \
                  unquoted URL that the shell cut at `&`.",
        checks: &[Url],
        cures: &["Quote the URL.", "Set X-Amz-Expires to 604800 or less."],
    },
    Entry {
        id: "s3-token-invalid",
        origin: Origin::S3,
        code: Some("InvalidToken"),
        texts: &["The provided token is malformed or otherwise invalid."],
        meaning: "S3 does not accept the session token, because it is truncated, belongs to another key, or \
                  was issued by the global STS endpoint (version 1) and is used in an opt-in region.",
        checks: &[Endpoint, Url],
        cures: &["Use the regional STS endpoint, whose tokens are valid in every region."],
    },
    Entry {
        id: "s3-key-unknown",
        origin: Origin::S3,
        code: Some("InvalidAccessKeyId"),
        texts: &["The AWS Access Key Id you provided does not exist in our records."],
        meaning: "The key does not exist, belongs to another partition, or is the key of a session without \
                  its token.",
        checks: &[Url],
        cures: &[
            "Keep X-Amz-Security-Token in the URL.",
            "Use credentials of the bucket's partition.",
        ],
    },
    Entry {
        id: "token-rejected-by-kubernetes",
        origin: Origin::Kubernetes,
        code: None,
        texts: &["the UID in the bound object reference ({}) does not match the UID in record"],
        meaning: "A token was requested for a pod that has been replaced by another one with the same name.",
        checks: &[Stale],
        cures: &["Request a token for the current pod."],
    },
    Entry {
        id: "incomplete-signature",
        origin: Origin::Sts,
        code: Some("IncompleteSignature"),
        texts: &[
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
            "AWS query-string parameters must include '{}'.",
            "Authorization header requires '{}' parameter.",
        ],
        meaning: "The signature is malformed, because of custom signing code or a proxy that changed the \
                  header.",
        checks: &[Program],
        cures: &[
            "Use the SDK to sign requests, and configure proxies not to change the Authorization \
                  header and the query.",
        ],
    },
    Entry {
        id: "host-not-signed",
        origin: Origin::Sts,
        code: None,
        texts: &["'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."],
        meaning: "The signature does not cover the host.",
        checks: &[Program],
        cures: &["Sign the header `host`."],
    },
    Entry {
        id: "request-limit",
        origin: Origin::Service,
        code: None,
        texts: &["Request limit exceeded."],
        meaning: "The service limits the rate of requests. The identity is correct.",
        checks: &[Permissions],
        cures: &["Retry with a back-off, or request a higher quota."],
    },
    Entry {
        id: "permission",
        origin: Origin::Service,
        code: None,
        texts: &["assumed-role/{} is not authorized to perform: {}"],
        meaning: "The pod uses its own role, but the policies of the role do not allow the action.",
        checks: &[Permissions],
        cures: &[
            "Allow the action in the role's policy, and check resource policies and service control \
             policies.",
        ],
    },
];
