"""What an application with boto3 does in a pod: one action, one line of JSON.

Runs with the boto3 under test, inside `irsa lab run`.
"""

import json
import sys
import urllib.error
import urllib.request
import os
import ssl

import boto3
from botocore.config import Config


def identity(options):
    sts = boto3.client("sts", endpoint_url=options.get("endpoint"), region_name=options.get("region"))
    answer = sts.get_caller_identity()
    return {"arn": answer["Arn"], "endpoint": sts.meta.endpoint_url}


def presign(options):
    """Makes a URL and, unless told otherwise, fetches it as anybody could who has it."""
    settings = {}
    if options.get("signs_in_at_home"):
        # botocore gets credentials in the region of the client that first needs them, not in that of the pod.
        boto3.client("sts").get_caller_identity()
    if options.get("version"):
        settings["signature_version"] = options["version"]
    if options.get("style"):
        settings["s3"] = {"addressing_style": options["style"]}
    s3 = boto3.client("s3", config=Config(**settings), region_name=options.get("region"))
    url = s3.generate_presigned_url(
        "get_object",
        Params={"Bucket": options["bucket"], "Key": options["key"]},
        ExpiresIn=options.get("expires", 600),
    )
    return {"url": url, **fetch(url)}


def fetch(url):
    context = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=30) as answer:
            return {"status": answer.status, "body": answer.read().decode()}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()}


def use_s3(options):
    """Bucket, small and large object, listing, range, metadata, deletion."""
    from boto3.s3.transfer import TransferConfig
    import io

    region = options["region"]
    s3 = boto3.client("s3", region_name=region)
    bucket = options["bucket"]
    if region == "us-east-1":
        s3.create_bucket(Bucket=bucket)
    else:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_object(Bucket=bucket, Key="a/b c+é", Body=b"hello world", ContentType="text/plain", Metadata={"who": "me"})
    got = s3.get_object(Bucket=bucket, Key="a/b c+é", Range="bytes=6-")
    assert got["Body"].read() == b"world", got
    head = s3.head_object(Bucket=bucket, Key="a/b c+é")
    assert head["ContentType"] == "text/plain" and head["Metadata"] == {"who": "me"}, head
    large = os.urandom(6 << 20)
    transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_fileobj(io.BytesIO(large), bucket, "large", Config=transfer)
    back = io.BytesIO()
    s3.download_fileobj(bucket, "large", back)
    assert back.getvalue() == large, "the large object came back changed"
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["a/b c+é", "large"], keys
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    s3.delete_bucket(Bucket=bucket)
    assert bucket not in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    return {"done": True}


def put(options):
    s3 = boto3.client("s3", region_name=options["region"])
    if options.get("create"):
        s3.create_bucket(
            Bucket=options["bucket"], CreateBucketConfiguration={"LocationConstraint": options["region"]}
        )
    s3.put_object(Bucket=options["bucket"], Key=options["key"], Body=options["body"].encode())
    return {"done": True}


ACTIONS = {"identity": identity, "presign": presign, "use-s3": use_s3, "put": put}

try:
    result = ACTIONS[sys.argv[1]](json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
except Exception as error:  # what an application would see is what is looked at
    result = {"error": type(error).__name__, "text": str(error)}
print(json.dumps(result))
