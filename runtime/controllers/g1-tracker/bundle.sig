{
 "key_id": "43b36d425eff4ef8",
 "public_key": "18f66160c31c07c08e89f1a5d249544472dca4f57d6d0d0655044a96b95c7a17",
 "schema": "exoactor-signature/1",
 "signature": "71907a3004db87a625ca30a9bcec4a6e753e57eef8243be7c78e2fad5737375b2e4218ba309e4db283559329c281eaa2b8fb624ccbf9d379eb7d1a4a60c83006"
}
