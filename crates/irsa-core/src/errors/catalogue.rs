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
        meaning: "A signed call (GetCallerIdentity, AssumeRole; never AssumeRoleWithWebIdentity, which is not signed) \
                  reached an STS host with another region in its credential scope: sts.amazonaws.com takes us-east-1 only, \
                  a regional host only its own region. It happens when a program, AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL \
                  names the endpoint while the client has a region of its own.",
        checks: &[Endpoint, Program],
        cures: &[
            "Remove the endpoint URL and let the SDK find the endpoint.",
            "Use the URL of the client's own region, https://sts.REGION.amazonaws.com.",
            "Give that one STS client the region us-east-1, if the global endpoint is wanted.",
            "Changing the service account's annotation alone does not help: the scope stays the client's region.",
        ],
    },
    Entry {
        id: "scope-service",
        origin: Origin::Sts,
        code: None,
        texts: &["Credential should be scoped to correct service: 'sts'."],
        meaning: "The request was signed for another service than STS, usually by a proxy or a hand-made signer.",
        checks: &[Program],
        cures: &["Sign for the service `sts`."],
    },
    Entry {
        id: "no-provider",
        origin: Origin::Sts,
        code: Some("InvalidIdentityToken"),
        texts: &["No OpenIDConnect provider found in your account for {}"],
        meaning: "The role's account has no IAM OIDC provider for the issuer of the pod's token. The issuer is compared to \
                  the letter, its path and case included.",
        checks: &[Provider, Issuer],
        cures: &[
            "Create the OIDC provider for exactly this issuer in the role's account.",
            "If the cluster was created anew, its issuer is new as well: replace the provider and the trust policies.",
        ],
    },
    Entry {
        id: "audience",
        origin: Origin::Sts,
        code: None,
        texts: &["Incorrect token audience"],
        meaning: "The token's audience is not among the client ids of the IAM OIDC provider.",
        checks: &[Audience],
        cures: &[
            "Add the audience (normally sts.amazonaws.com) to the provider's client ids.",
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
        meaning: "STS cannot fetch discovery document or keys of the issuer from the internet, or the token's key id is not \
                  among them.",
        checks: &[Issuer],
        cures: &[
            "Make ISSUER/.well-known/openid-configuration and the jwks_uri in it readable for everyone over HTTPS.",
            "Publish the keys with which the API server really signs (`kubectl get --raw /openid/v1/jwks`).",
        ],
    },
    Entry {
        id: "not-a-jwt",
        origin: Origin::Sts,
        code: None,
        texts: &["The ID Token provided is not a valid JWT."],
        meaning: "What was sent as the token is not one: an empty or truncated file, a path instead of the content, a token \
                  of another kind.",
        checks: &[TokenFile],
        cures: &[
            "Let AWS_WEB_IDENTITY_TOKEN_FILE name the projected token, and read the file anew for each call.",
        ],
    },
    Entry {
        id: "thumbprint",
        origin: Origin::Sts,
        code: None,
        texts: &["OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint"],
        meaning: "The certificate of the issuer's host is not signed by a root that AWS trusts, and the provider's thumbprint \
                  is of another certificate.",
        checks: &[Provider, Issuer],
        cures: &["Update the thumbprint, or serve the issuer with a certificate of a public authority."],
    },
    Entry {
        id: "missing-claim",
        origin: Origin::Sts,
        code: None,
        texts: &["Missing a required claim: {}"],
        meaning: "The token lacks `iat`, `exp` or `sub`: it is not a projected service-account token.",
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
        meaning: "The service-account token is over. The kubelet renews the file; a program that read it once, or a copy of \
                  it, keeps the old one.",
        checks: &[TokenFile, Clock],
        cures: &[
            "Read the token's file anew for each exchange; current SDKs do.",
            "Mount the token's volume without `subPath`, which is never updated.",
        ],
    },
    Entry {
        id: "web-identity-denied",
        origin: Origin::Sts,
        code: Some("AccessDenied"),
        texts: &["Not authorized to perform sts:AssumeRoleWithWebIdentity"],
        meaning: "The trust policy did not match: wrong `sub` (namespace or name of the service account), wrong `aud`, \
                  another provider, or the role does not exist or is in another account or partition. AWS gives the same text \
                  for all of these.",
        checks: &[Trust, RoleArn, Provider],
        cures: &[
            "Compare the condition ISSUER:sub with system:serviceaccount:NAMESPACE:NAME, to the letter.",
            "Use StringLike, not StringEquals, where the condition has wildcards.",
            "Check the role's ARN in the annotation: account, partition, name and path.",
        ],
    },
    Entry {
        id: "assume-role-denied",
        origin: Origin::Sts,
        code: None,
        texts: &["User: {} is not authorized to perform: sts:AssumeRole on resource: {}"],
        meaning: "Not the exchange of the pod's token, but a second role that the program assumes afterwards is refused.",
        checks: &[Trust, Permissions],
        cures: &[
            "Allow sts:AssumeRole in the first role's policy and the first role in the second's trust policy.",
            "If the user in the text is the node's role, the pod has no identity of its own: see `node-role`.",
        ],
    },
    Entry {
        id: "region-disabled",
        origin: Origin::Sts,
        code: Some("RegionDisabledException"),
        texts: &["STS is not activated in this region for account:{}"],
        meaning: "The account has deactivated STS in the region, or never enabled this opt-in region.",
        checks: &[Region],
        cures: &[
            "Activate STS for the region in the IAM console (Account settings); enable the region itself if it is opt-in.",
            "Until then use the global endpoint, or another region, for pods there.",
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
        meaning: "The signature's time and AWS's differ by more than a quarter of an hour: a wrong clock, a presigned request \
                  that was kept too long, or a proxy that delays.",
        checks: &[Clock],
        cures: &[
            "Correct the node's clock (chrony with 169.254.169.123 on EC2).",
            "Presign anew.",
        ],
    },
    Entry {
        id: "signature-wrong",
        origin: Origin::Service,
        code: None,
        texts: &["The request signature we calculated does not match the signature you provided."],
        meaning: "The secret key is not the one of the key id, or the request was changed after it was signed: by a proxy, a \
                  redirect to another host, an encoded path.",
        checks: &[Program, Url],
        cures: &[
            "Take key id, secret key and session token from one and the same source.",
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
        meaning: "The key id is not known there: deleted, of another partition, without its session token, or a session token \
                  of the global endpoint (version 1) used in an opt-in region.",
        checks: &[Endpoint],
        cures: &[
            "Use the regional endpoint: its tokens are valid in every region.",
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
        meaning: "The session that the role gave is over and the program did not renew it, or a presigned URL outlived its \
                  session.",
        checks: &[Program, Url],
        cures: &[
            "Let the SDK's default chain get the credentials; do not copy them.",
            "Presign anew.",
        ],
    },
    Entry {
        id: "missing-authentication",
        origin: Origin::Service,
        code: Some("MissingAuthenticationToken"),
        texts: &["Request is missing Authentication Token"],
        meaning: "The request was not signed at all.",
        checks: &[Program],
        cures: &["Only AssumeRoleWithWebIdentity and AssumeRoleWithSAML go unsigned; sign everything else."],
    },
    Entry {
        id: "idp-communication",
        origin: Origin::Sts,
        code: Some("IDPCommunicationError"),
        texts: &["IDPCommunicationError"],
        meaning: "STS could not reach the issuer for a moment. Most SDKs try again by themselves.",
        checks: &[Issuer],
        cures: &["Try again; if it stays, look at the host that serves the issuer's documents."],
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
        meaning: "The ARN in AWS_ROLE_ARN is none of a role: an extra colon, a missing account, a policy's ARN.",
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
        meaning: "The session name has characters other than letters, digits and `_+=,.@-`, or more than 64 of them.",
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
        meaning: "The program asks for a longer (or shorter) session than the role allows. A role assumed from a role's \
                  session gets one hour at most.",
        checks: &[Program],
        cures: &["Ask for less, or raise the role's MaxSessionDuration (up to 12 hours)."],
    },
    Entry {
        id: "policy-too-large",
        origin: Origin::Sts,
        code: Some("PackedPolicyTooLarge"),
        texts: &["Packed policy consumes {}% of allotted space, please use smaller policy."],
        meaning: "Session policies and tags do not fit into the session token.",
        checks: &[Program],
        cures: &["Use fewer or shorter session policies and tags."],
    },
    Entry {
        id: "throttled",
        origin: Origin::Sts,
        code: Some("Throttling"),
        texts: &["Rate exceeded"],
        meaning: "Too many calls. The global endpoint and each region have quotas of their own; many pods that start at once \
                  on the global endpoint share one.",
        checks: &[Endpoint],
        cures: &[
            "Use regional endpoints, which spreads the load.",
            "Keep credentials until they expire instead of asking for each call.",
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
        meaning: "AWS_STS_REGIONAL_ENDPOINTS has a value that the SDK refuses. Only `regional` and `legacy` are understood by \
                  every SDK that reads it; `global`, though documented, is not. From botocore 1.29 on every client of every \
                  service fails, in Go v1 the whole session.",
        checks: &[Endpoint],
        cures: &[
            "Write `legacy` where the global endpoint is meant, `regional` otherwise.",
            "Let the webhook write the value (`irsa set`), and remove it from the pod's own manifest.",
        ],
    },
    Entry {
        id: "s3-variable-refused",
        origin: Origin::Sdk,
        code: Some("InvalidS3UsEast1RegionalEndpointConfigError"),
        texts: &[
            "S3 us-east-1 regional endpoint option {} is invalid. Valid options are: \"legacy\", \"regional\"",
        ],
        meaning: "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT has a value that boto3 refuses; every S3 client fails.",
        checks: &[Endpoint],
        cures: &["Write `legacy` or `regional`, or remove the variable; an empty value is refused too."],
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
        meaning: "The SDK finds no region. boto3 and AWS CLI v1 read AWS_DEFAULT_REGION only, JavaScript and Java read \
                  AWS_REGION only: a pod needs both.",
        checks: &[Endpoint, Webhook],
        cures: &[
            "Set both AWS_REGION and AWS_DEFAULT_REGION; the webhook does, when it knows the region.",
            "A container that sets one of them itself gets the other from `irsa`'s webhook, but not from the upstream one.",
        ],
    },
    Entry {
        id: "region-malformed",
        origin: Origin::Sdk,
        code: Some("InvalidRegionError"),
        texts: &["Provided region_name '{}' doesn't match a supported format."],
        meaning: "The region has blanks, quotes or other characters that cannot stand in a host name.",
        checks: &[Endpoint],
        cures: &["Correct AWS_DEFAULT_REGION; quotes inside a value are the usual cause."],
    },
    Entry {
        id: "fips-and-endpoint",
        origin: Origin::Sdk,
        code: None,
        texts: &[
            "Invalid Configuration: FIPS and custom endpoint are not supported",
            "Invalid Configuration: Dualstack and custom endpoint are not supported",
        ],
        meaning: "AWS_USE_FIPS_ENDPOINT or AWS_USE_DUALSTACK_ENDPOINT exclude an endpoint URL.",
        checks: &[Endpoint],
        cures: &[
            "Remove one of the two; AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true drops the URLs of the environment.",
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
        meaning: "The pod calls the global endpoint from a network that has no way to it. An interface VPC endpoint covers \
                  sts.REGION.amazonaws.com only.",
        checks: &[Endpoint, Network],
        cures: &[
            "Switch the service account to regional (`irsa set regional`) and recreate its pods (`irsa rollout`).",
            "If it is regional already, look for a region variable that this SDK does not read.",
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
        meaning: "The regional endpoint cannot be reached: no NAT gateway and no interface endpoint, or its security group \
                  does not admit the pods on port 443, or the region does not exist.",
        checks: &[Network, Endpoint],
        cures: &[
            "Create the interface endpoint com.amazonaws.REGION.sts with private DNS and admit the pods' addresses.",
            "Check the region's name in the host.",
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
        meaning: "FIPS endpoints of STS are published in the four US regions and in GovCloud only; SDKs build the name for \
                  any region.",
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
        meaning: "The host of STS does not resolve: a region that does not exist, or the cluster's DNS.",
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
        meaning: "sts.amazonaws.com was pointed at a VPC endpoint by DNS; its certificate covers the regional name only.",
        checks: &[Endpoint],
        cures: &["Remove the DNS trick and use the regional endpoint."],
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
        meaning: "The SDK found no credentials: the pod was never mutated, is older than the annotation, or the SDK is too old \
                  for web identity. JavaScript v2 says this for every failure of the exchange.",
        checks: &[Stale, Webhook],
        cures: &[
            "Recreate the pod; if it still lacks AWS_ROLE_ARN, the webhook did not see it: run `irsa doctor`.",
            "Update an SDK from before September 2019.",
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
        meaning: "The session's name is an instance's id: the pod acts as its node, because it has no identity of its own. \
                  A webhook that fails is ignored silently.",
        checks: &[Stale, Webhook],
        cures: &[
            "Recreate the pod and look whether it now carries AWS_ROLE_ARN (`irsa status` names such pods).",
            "Set the instances' metadata hop limit to 1, so that pods cannot take the node's role.",
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
        meaning: "The container's user cannot read the token. Since Kubernetes 1.19 the file belongs to the user in \
                  `runAsUser`; a user that only the image names is not known to the kubelet.",
        checks: &[TokenFile],
        cures: &["Set securityContext.runAsUser, or fsGroup, in the pod."],
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
        meaning: "The variables are set but the volume is not mounted: they were written into the manifest by hand, or the \
                  container is one that the webhook skipped.",
        checks: &[Webhook, TokenFile],
        cures: &[
            "Remove AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE from the manifest: if one is there, the webhook adds neither.",
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
        meaning: "The API server could not call the webhook. With failurePolicy Ignore the pod starts without identity, with \
                  Fail it does not start.",
        checks: &[Webhook, Network],
        cures: &[
            "Run `irsa doctor`: it names the step that fails (service, endpoints, certificate, network policy).",
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
        meaning: "The caBundle of the MutatingWebhookConfiguration is not of the authority that signed the webhook's \
                  certificate, or the certificate is over.",
        checks: &[Webhook],
        cures: &[
            "Renew the certificate and write its authority into the caBundle; `irsa doctor` compares the two.",
        ],
    },
    Entry {
        id: "webhook-version",
        origin: Origin::Kubernetes,
        code: None,
        texts: &["expected webhook response of admission.k8s.io/v1"],
        meaning: "An old upstream webhook answers without apiVersion because it was registered for AdmissionReview v1.",
        checks: &[Webhook],
        cures: &["Register it for v1beta1, or use a webhook that echoes the version (ours does)."],
    },
    Entry {
        id: "token-too-short",
        origin: Origin::Kubernetes,
        code: None,
        texts: &["may not specify a duration less than 10 minutes"],
        meaning: "A projected token must live for 600 seconds at least.",
        checks: &[Webhook],
        cures: &["Raise the annotation eks.amazonaws.com/token-expiration to 600 or more."],
    },
    Entry {
        id: "s3-region",
        origin: Origin::S3,
        code: Some("AuthorizationHeaderMalformed"),
        texts: &["the region '{}' is wrong; expecting '{}'"],
        meaning: "The request was signed for another region than the bucket's.",
        checks: &[Url],
        cures: &["Create the S3 client with the bucket's region, which is the second of the two."],
    },
    Entry {
        id: "s3-permanent-redirect",
        origin: Origin::S3,
        code: Some("PermanentRedirect"),
        texts: &["The bucket you are attempting to access must be addressed using the specified endpoint."],
        meaning: "The request went to the host of another region than the bucket's.",
        checks: &[Url],
        cures: &["Use the bucket's region; `aws s3api get-bucket-location --bucket BUCKET` tells it."],
    },
    Entry {
        id: "s3-temporary-redirect",
        origin: Origin::S3,
        code: Some("TemporaryRedirect"),
        texts: &["Please re-send this request to the specified temporary endpoint."],
        meaning: "The bucket is young and its name has not spread yet; the global host redirects, which breaks a presigned \
                  URL because its host is signed.",
        checks: &[Url],
        cures: &["Presign on the host of the bucket's region (`irsa url predict` shows how in each SDK)."],
    },
    Entry {
        id: "s3-location",
        origin: Origin::S3,
        code: Some("IllegalLocationConstraintException"),
        texts: &[
            "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
        ],
        meaning: "The bucket is in a region launched after 2019-03-20, which the global host does not serve.",
        checks: &[Url],
        cures: &["Presign on the host of the bucket's region: in boto3 with addressing_style `virtual`."],
    },
    Entry {
        id: "url-expired",
        origin: Origin::S3,
        code: None,
        texts: &["Request has expired"],
        meaning: "The presigned URL is older than it says it is good for.",
        checks: &[Url],
        cures: &["Presign anew, for longer if need be (7 days at most, and never longer than the session)."],
    },
    Entry {
        id: "sigv2-refused",
        origin: Origin::S3,
        code: None,
        texts: &[
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ],
        meaning: "The URL has a signature of version 2, which boto3 still makes by default, and the region takes version 4 \
                  only.",
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
        meaning: "Parameters of the signature are missing or out of range; a shell that cut the URL at `&` is the usual cause.",
        checks: &[Url],
        cures: &["Quote the URL.", "Keep X-Amz-Expires at 604800 or less."],
    },
    Entry {
        id: "s3-token-invalid",
        origin: Origin::S3,
        code: Some("InvalidToken"),
        texts: &["The provided token is malformed or otherwise invalid."],
        meaning: "S3 does not accept the session token: cut off, of another key, or from the global STS endpoint (version 1) \
                  in an opt-in region.",
        checks: &[Endpoint, Url],
        cures: &["Use the regional STS endpoint, whose tokens are valid in every region."],
    },
    Entry {
        id: "s3-key-unknown",
        origin: Origin::S3,
        code: Some("InvalidAccessKeyId"),
        texts: &["The AWS Access Key Id you provided does not exist in our records."],
        meaning: "The key does not exist (any more), is of another partition, or is a session's key without its token.",
        checks: &[Url],
        cures: &[
            "Keep X-Amz-Security-Token in the URL.",
            "Presign with the credentials of the bucket's partition.",
        ],
    },
    Entry {
        id: "token-rejected-by-kubernetes",
        origin: Origin::Kubernetes,
        code: None,
        texts: &["the UID in the bound object reference ({}) does not match the UID in record"],
        meaning: "A token was asked for a pod that has been replaced by another of the same name.",
        checks: &[Stale],
        cures: &["Ask again for the pod that exists now."],
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
        meaning: "The signature's own parts are malformed: a hand-made signer, or a proxy that rewrote the header.",
        checks: &[Program],
        cures: &["Use the SDK's signer, and let proxies leave Authorization and the query alone."],
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
        meaning: "The service itself limits its callers; the identity is right.",
        checks: &[Permissions],
        cures: &["Retry with back-off, or ask for a higher quota."],
    },
    Entry {
        id: "permission",
        origin: Origin::Service,
        code: None,
        texts: &["assumed-role/{} is not authorized to perform: {}"],
        meaning: "The identity is the pod's own role, but its policies do not allow the action.",
        checks: &[Permissions],
        cures: &[
            "Allow the action in the role's policy, and in resource policies and service control policies.",
        ],
    },
];
