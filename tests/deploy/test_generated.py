from deploy.generated import main


def test_the_generated_documents_are_up_to_date() -> None:
    assert main(check=True) == 0
