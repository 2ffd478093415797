//! Writes CloudTrail log files of any number, for measuring `irsa audit`:
//!
//! `cargo run --release -p irsa-trail --example generate -- FOLDER FILES RECORDS_PER_FILE`
//!
//! One record in five is an STS call; the others are about twice as long, as those of EC2 and S3 are. The contents are
//! the same at each run.

use std::fmt::Write as _;
use std::fs::{File, create_dir_all};
use std::io::Write as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A small generator of numbers, so that the same arguments give the same files.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: generate FOLDER FILES RECORDS_PER_FILE";
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let files: u64 = arguments.next().ok_or(usage)?.parse()?;
    let records: u64 = arguments.next().ok_or(usage)?.parse()?;
    create_dir_all(&folder)?;
    let mut numbers = Numbers(1);
    let mut plain = 0;
    for file in 0..files {
        let path = folder.join(format!("111122223333_CloudTrail_us-east-1_{file:06}.json.gz"));
        let mut to = GzEncoder::new(File::create(path)?, Compression::default());
        let mut text = String::from("{\"Records\":[");
        for number in 0..records {
            if number > 0 {
                text.push(',');
            }
            record(&mut text, &mut numbers)?;
        }
        text.push_str("]}");
        plain += text.len();
        to.write_all(text.as_bytes())?;
        to.finish()?;
    }
    writeln!(
        std::io::stdout(),
        "{files} files, {} records, {} MB uncompressed",
        files * records,
        plain / 1_000_000
    )?;
    Ok(())
}

fn record(text: &mut String, numbers: &mut Numbers) -> std::fmt::Result {
    let (id, second) = (numbers.below(u64::from(u32::MAX)), numbers.below(86_400));
    let time = format!(
        "2026-11-{:02}T{:02}:{:02}:{:02}Z",
        1 + numbers.below(20),
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    if numbers.below(5) > 0 {
        return write!(
            text,
            r#"{{"eventVersion":"1.11","userIdentity":{{"type":"AssumedRole","principalId":"AROAEXAMPLE:i-{id:08x}","arn":"arn:aws:sts::111122223333:assumed-role/node/i-{id:08x}","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE{id:08X}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROAEXAMPLE","arn":"arn:aws:iam::111122223333:role/node","accountId":"111122223333","userName":"node"}},"attributes":{{"creationDate":"{time}","mfaAuthenticated":"false"}},"ec2RoleDelivery":"2.0"}}}},"eventTime":"{time}","eventSource":"ec2.amazonaws.com","eventName":"DescribeInstances","awsRegion":"us-east-1","sourceIPAddress":"192.0.2.{}","userAgent":"aws-sdk-go-v2/1.30.3 os/linux lang/go#1.22.5 md/GOARCH#amd64 api/ec2#1.170.0","requestParameters":{{"instancesSet":{{"items":[{{"instanceId":"i-{id:017x}"}},{{"instanceId":"i-{:017x}"}}]}},"filterSet":{{"items":[{{"name":"tag:kubernetes.io/cluster/main","valueSet":{{"items":[{{"value":"owned"}}]}}}},{{"name":"instance-state-name","valueSet":{{"items":[{{"value":"running"}},{{"value":"pending"}}]}}}}]}},"maxResults":1000}},"responseElements":null,"requestID":"{id:08x}-1111-2222-3333-444455556666","eventID":"{id:08x}-aaaa-bbbb-cccc-ddddeeeeffff","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"ec2.us-east-1.amazonaws.com"}}}}"#,
            numbers.below(250),
            numbers.below(1_000_000)
        );
    }
    let account = numbers.below(500);
    let (endpoint, host, region) = if account.is_multiple_of(10) {
        ("global", "sts.amazonaws.com", "us-east-1")
    } else {
        ("regional", "sts.us-west-2.amazonaws.com", "us-west-2")
    };
    let agent = [
        "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux lang/python#3.12.1 md/pyimpl#CPython",
        "aws-sdk-go-v2/1.30.3 os/linux lang/go#1.22.5 api/sts#1.30.3",
        "aws-sdk-js/3.1173.0 ua/2.1 os/linux lang/js md/nodejs#20.11.0 api/sts#3.1173.0",
        "aws-sdk-java/2.30.0 md/io#sync md/http#Apache ua/2.1 os/Linux lang/java#21",
    ][numbers.below(4) as usize];
    let provider = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE";
    write!(
        text,
        r#"{{"eventVersion":"1.11","userIdentity":{{"type":"WebIdentityUser","principalId":"{provider}:sts.amazonaws.com:system:serviceaccount:team-{}:app-{account}","userName":"system:serviceaccount:team-{}:app-{account}","identityProvider":"{provider}"}},"eventTime":"{time}","eventSource":"sts.amazonaws.com","eventName":"AssumeRoleWithWebIdentity","awsRegion":"{region}","sourceIPAddress":"192.0.2.10","userAgent":"{agent}","requestParameters":{{"roleArn":"arn:aws:iam::111122223333:role/app-{account}","roleSessionName":"session-{id}"}},"responseElements":{{"credentials":{{"accessKeyId":"ASIAEXAMPLE{id:08X}","sessionToken":"IQoJb3JpZ2luX2VjEXAMPLE","expiration":"Nov 24, 2026, 1:18:30 AM"}},"subjectFromWebIdentityToken":"system:serviceaccount:team-{}:app-{account}","assumedRoleUser":{{"assumedRoleId":"AROAEXAMPLE:session-{id}","arn":"arn:aws:sts::111122223333:assumed-role/app-{account}/session-{id}"}},"provider":"{provider}","audience":"sts.amazonaws.com"}},"additionalEventData":{{"RequestDetails":{{"endpointType":"{endpoint}","awsServingRegion":"us-west-2"}}}},"requestID":"{id:08x}-1111-2222-3333-444455556666","eventID":"{id:08x}-aaaa-bbbb-cccc-ddddeeeeffff","readOnly":true,"resources":[{{"accountId":"111122223333","type":"AWS::IAM::Role","ARN":"arn:aws:iam::111122223333:role/app-{account}"}}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"{host}"}}}}"#,
        account % 20,
        account % 20,
        account % 20
    )
}
